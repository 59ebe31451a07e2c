"""What `trimtab run`, `plan`, `status` and `report` print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import CommandLine
from tests.config.world import write_recipe
from tests.evaluation.world import evaluation
from tests.pipeline.world import Kitchen
from tests.training.world import tiny_policy

from trimtab.errors import Interrupted, NumericsError


def raises(error: BaseException) -> Any:
    def stage(context: Any) -> None:
        raise error

    return stage


def test_a_run_ends_with_times_the_table_and_the_report(kitchen: Kitchen, trimtab: CommandLine) -> None:
    ended = trimtab("run", "desk.yaml")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[:2] == ["sft: started", "sft: done in 0.0 s"]
    assert "policy: ppo 1/4, score 0.5" in lines
    assert "sft minus base" not in ended.out
    assert "policy minus sft" in ended.out
    (report,) = kitchen.store.glob("report-*/report.html")
    assert lines[-1] == f"Report: {report}"


def test_a_second_run_says_that_all_was_there(kitchen: Kitchen, trimtab: CommandLine) -> None:
    trimtab("run", "desk.yaml")
    ended = trimtab("run", "desk.yaml")
    assert ended.out.splitlines()[:2] == ["sft: finished before", "reward_model: finished before"]
    assert ended.out.count("was there") == 5
    assert kitchen.ran == ["sft", "reward_model", "ppo", "evaluation", "report"]


def test_json_is_all_that_is_printed(kitchen: Kitchen, trimtab: CommandLine) -> None:
    ended = trimtab("run", "desk.yaml", "policy.kl_coef=0.2", "--json", "--until", "policy", "--store", "elsewhere")
    found = json.loads(ended.out)
    assert [stage["name"] for stage in found["stages"]] == ["sft", "reward_model", "policy"]
    assert [stage["ran"] for stage in found["stages"]] == [True] * 3
    assert found["store"] == str(kitchen.path.parent / "elsewhere")
    assert found["report"] is None
    assert all(Path(stage["folder"]).is_dir() for stage in found["stages"])


def test_a_warning_names_its_stage_and_stands_beside_the_json(kitchen: Kitchen, trimtab: CommandLine) -> None:
    kitchen.does("ppo", lambda context: context.warn("the generator strays"))
    ended = trimtab("run", "desk.yaml")
    assert ended.code == 0
    assert "policy: warning: the generator strays" in ended.out.splitlines()
    ended = trimtab("run", "desk.yaml", "policy.kl_coef=0.2", "--json")
    assert "policy: warning: the generator strays" in ended.err
    assert all(
        stage["ran"] == (stage["name"] not in ("sft", "reward_model")) for stage in json.loads(ended.out)["stages"]
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "desk.yaml", "sft.lerning_rate=1"], "error: desk.yaml: stages.sft.lerning_rate: unknown key; did you"),
        (["plan", "absent.yaml"], "error: absent.yaml: the recipe cannot be read: No such file"),
        (["run", "desk.yaml", "--until", "sfft"], "there is no stage 'sfft'; did you mean sft?"),
        (["status"], "error: there is no run in runs. Start one with: trimtab run RECIPE"),
        (["report", "desk.yaml"], "error: there is no report in runs/desk yet of desk.yaml as it is now. Make it"),
        (["report", "absent.yaml"], "error: absent.yaml: the recipe cannot be read: No such file"),
        (["report", "."], "error: there is no report in . yet. Make it with: trimtab run RECIPE"),
        (["report", ".", "seed=3"], "error: seed=3 is a setting of a recipe, and . is a folder; give the recipe"),
        (["run", "desk.yaml", "--store", "desk.yaml"], "error: desk.yaml cannot hold artifacts: File exists."),
        (["run", "desk.yaml", "runtime.device=gpu"], "error: desk.yaml: runtime.device: string should match pattern"),
        (["plan", "a\x1b[2Jb.yaml"], "error: a�[2Jb.yaml: the recipe cannot be read"),
    ],
)
def test_a_mistake_is_told_without_a_traceback(
    kitchen: Kitchen, trimtab: CommandLine, arguments: list[str], expected: str
) -> None:
    ended = trimtab(*arguments)
    assert ended.code == 1
    assert expected in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_stage_that_fails_is_named(kitchen: Kitchen, trimtab: CommandLine) -> None:
    kitchen.does("ppo", raises(NumericsError("ppo step 3: the loss is nan")))
    ended = trimtab("run", "desk.yaml")
    assert ended.code == 1
    assert ended.err == "error: policy: ppo step 3: the loss is nan\n"


def test_an_interrupted_run_says_how_to_go_on(kitchen: Kitchen, trimtab: CommandLine) -> None:
    kitchen.does("ppo", raises(Interrupted("stopped after step 3 of 4; the state is saved")))
    ended = trimtab("run", "desk.yaml", "policy.kl_coef=0.2")
    assert ended.code == 130
    assert ended.err.splitlines() == [
        "policy: stopped after step 3 of 4; the state is saved",
        "Go on with: trimtab run desk.yaml policy.kl_coef=0.2",
    ]


def test_a_run_stopped_at_once_says_how_to_go_on(kitchen: Kitchen, trimtab: CommandLine) -> None:
    kitchen.does("ppo", raises(KeyboardInterrupt()))
    ended = trimtab("run", "desk.yaml", "--store", "my runs")
    assert ended.code == 130
    assert ended.err.splitlines() == [
        "Stopped at once; the state saved last is kept.",
        "Go on with: trimtab run desk.yaml --store 'my runs'",
    ]


def test_a_plan_shows_what_is_finished(kitchen: Kitchen, trimtab: CommandLine) -> None:
    trimtab("run", "desk.yaml", "--until", "sft")
    stages = json.loads(trimtab("plan", "desk.yaml", "--json").out)["stages"]
    assert [(stage["name"], stage["status"]) for stage in stages][:2] == [("sft", "done"), ("reward_model", "missing")]
    assert stages[2]["inputs"] == {"model": "sft", "reward_model": "reward_model"}
    shown = trimtab("plan", "desk.yaml").out
    assert stages[0]["key"][:12] in shown
    assert "sft, reward_model" in shown


def test_a_status_shows_finished_and_open_stages(kitchen: Kitchen, trimtab: CommandLine) -> None:
    kitchen.does("reward_model", raises(Interrupted("stopped")))
    trimtab("run", "desk.yaml")
    (store,) = json.loads(trimtab("status", "--json").out)
    assert store["folder"] == "runs/desk"
    assert not store["running"]
    assert [(stage["name"], stage["progress"]) for stage in store["stages"]] == [
        ("sft", "done"),
        ("reward_model", "begun"),
    ]
    shown = trimtab("status", "runs/desk").out
    assert "runs/desk (no run is at work)" in shown
    assert "begun" in shown


def test_the_report_is_found_by_recipe_and_by_folder(kitchen: Kitchen, trimtab: CommandLine) -> None:
    trimtab("run", "desk.yaml")
    (report,) = kitchen.store.glob("report-*/report.html")
    assert trimtab("report", "desk.yaml").out == f"{report}\n"
    assert json.loads(trimtab("report", "runs/desk", "--json").out)["report"] == str(report)


def test_a_recipes_report_is_that_of_the_recipe_as_it_is(kitchen: Kitchen, trimtab: CommandLine) -> None:
    trimtab("run", "desk.yaml")
    (older,) = kitchen.store.glob("report-*/report.html")
    trimtab("run", "desk.yaml", "report.title=Another")
    (newer,) = set(kitchen.store.glob("report-*/report.html")) - {older}
    assert trimtab("report", "desk.yaml").out == f"{older}\n"
    assert trimtab("report", "desk.yaml", "report.title=Another").out == f"{newer}\n"
    assert trimtab("report", "runs/desk").out == f"{newer}\n"

    (kitchen.path.parent / "data" / "prompts.jsonl").write_text('{"prompt": "another"}\n')
    ended = trimtab("report", "desk.yaml", "seed=3", "--store", "runs/desk")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines() == [
        "error: there is no report in runs/desk yet of desk.yaml as it is now. Make it with: trimtab run desk.yaml "
        "seed=3 --store runs/desk",
        "The newest of other settings or data: trimtab report runs/desk",
    ]


def test_a_recipe_that_makes_no_report_is_told(trimtab: CommandLine, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "stages: {sft: {model: smollm2-135m-instruct, data: data/demonstrations.jsonl}}")
    assert "desk.yaml has no stage of kind report" in trimtab("report", path.name).err


def test_brackets_in_a_path_are_no_markup(kitchen: Kitchen, trimtab: CommandLine) -> None:
    store = "runs [/b] :smile:"
    ended = trimtab("run", "desk.yaml", "--store", store)
    (report,) = Path(store).resolve().glob("report-*/report.html")
    assert ended.out.splitlines()[-1] == f"Report: {report}"
    assert f"Artifacts in {store}" in trimtab("plan", "desk.yaml", "--store", store).out
    assert f"{store} (no run is at work)" in trimtab("status", store).out


def test_a_kind_in_evaluation_rows_is_no_markup(kitchen: Kitchen, trimtab: CommandLine) -> None:
    def evaluate(context: Any) -> None:
        found = evaluation(4, 2)
        for row in found["metrics"]:
            row["group"] = row["group"].replace("memo", "[/b]")
        (context.folder / "evaluation.json").write_text(json.dumps(found))

    kitchen.does("evaluation", evaluate)
    ended = trimtab("run", "desk.yaml")
    assert ended.code == 0
    assert "([/b])" in ended.out


def test_the_version_and_the_commands_are_told(trimtab: CommandLine) -> None:
    assert trimtab("--version").out.startswith("trimtab 0.")
    shown = trimtab("--help").out
    commands = ("run", "plan", "status", "report", "compare", "explain", "chat", "doctor", "models", "data")
    assert all(f" {command} " in shown for command in commands)
    assert trimtab("rn").code == 2


def test_data_check_is_mounted(trimtab: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert "Every row can be read." in trimtab("data", "check", "d.jsonl").out


def test_data_check_takes_a_runs_stage_as_its_model(trimtab: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    folder = tmp_path / "runs" / "desk" / "sft-0123"
    tiny_policy().save(folder)
    record = {name: {} for name in ("config", "inputs", "summary", "versions", "machine")}
    record |= {"name": "sft", "kind": "sft", "key": "0123", "seconds": 1.0, "created": "2031-01-01"}
    (folder / "artifact.json").write_text(json.dumps(record))
    assert "Lengths in tokens" in trimtab("data", "check", "d.jsonl", "--model", "runs/desk/sft").out
    assert "Did you mean sft?" in trimtab("data", "check", "d.jsonl", "--model", "runs/desk/sftt").err
