"""From seed tasks to demonstrations that fine-tuning takes: behind a server, on a tiny model, stopped and gone on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import trimtab  # noqa: F401  # the fixture
from tests.cli.world import CommandLine
from tests.generation.fake_endpoint import Behaviour, FakeServer, body_of, says, serving, without_proxies
from tests.training.world import tiny_policy

from trimtab.config import load_recipe
from trimtab.data.formats import read_demonstrations
from trimtab.errors import DataError, Interrupted, RecipeError
from trimtab.pipeline import self_instruct_stage
from trimtab.pipeline.data_checks import check_data
from trimtab.pipeline.runner import run

RECIPE = """\
seed: 5
stages:
  tasks: {kind: self_instruct, %s, data: seeds.jsonl, num_instructions: 5, max_rounds: 4, tasks_per_round: 3,
          instruction_tokens: 8, max_new_tokens: 8%s}
  sft: {model: model, data: tasks, batch_size: 4, max_steps: 2}
runtime: {threads: 1, precision: fp32}
"""
SERVER = 'endpoint: {base_url: "%s", model: big, api_key_env: null}'
SEEDS = [
    {"id": f"s{n}", "instruction": f"Do the thing {n}.", "input": "", "output": "La", "is_classification": n % 2 == 0}
    for n in range(8)
]
COUNTS = "self_instruct.json"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


def script(body: dict[str, Any], earlier: int) -> Behaviour:
    """A good writer: every task is another one, and each is an unlabelled one with an input."""
    messages = body["messages"]
    question = messages[-1]["content"]
    digest = hashlib.md5(json.dumps(body, sort_keys=True).encode()).hexdigest()
    if question == "Write a new task.":
        return says(body_of("Compare " + " ".join(digest[i : i + 4] for i in range(0, 16, 4))))
    if "Yes or No" in messages[0]["content"]:
        return says(body_of("No"))
    return says(body_of(f"Input: {digest[:5]}\nOutput: {question[-4:]}"))


def write_recipe(folder: Path, writer: str, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    tiny_policy(longest=2048).save(folder / "model")
    (folder / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SEEDS))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE % (writer, more))
    return path


def made(folder: Path, name: str) -> str:
    (artifact,) = folder.glob(f"store/tasks-*/{name}")
    return artifact.read_text()


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in made(folder, "data.jsonl").splitlines()]


def run_behind(server: FakeServer, folder: Path, more: str = "") -> None:
    run(load_recipe(write_recipe(folder, SERVER % server.url, more)), folder / "store")


def test_new_tasks_are_made_with_all_that_is_known_of_them(tmp_path: Path) -> None:
    with serving(script) as server:
        run_behind(server, tmp_path)
    found = rows(tmp_path)
    assert [row["source"] for row in found] == ["seed"] * 8 + ["model"] * 5
    assert found[0] == {**SEEDS[0], "id": "s0/1", "source": "seed"}
    new = found[8]
    assert {name: new[name] for name in ("id", "generator", "seed", "round", "prompt_version")} == {
        "id": "new-1-1/1",
        "generator": "big",
        "seed": 5,
        "round": 1,
        "prompt_version": "1",
    }
    assert new["output"] == new["instruction"][-4:]
    assert set(new["parents"]) == {f"s{n}" for n in range(8)}
    assert {"beyond text", "ROUGE-L", "empty output"} <= set(new["filters"])
    assert {row["round"] for row in found[8:]} == {1, 2}
    assert {"new-1-1", "new-1-2", "new-1-3"} & set(found[-1]["parents"])
    counts = json.loads(made(tmp_path, COUNTS))
    assert counts["instructions"] == {"asked": 6, "parsed": 6, "new": 6}
    assert counts["kept"] == {"tasks": 5, "instances": 5, "classifications": 0, "without_input": 0}
    assert counts["words"]["instruction"] == [5.0] * 5
    assert len(counts["nearest_seed_rouge_l"]) == 5
    demonstrations = list(read_demonstrations(next(tmp_path.glob("store/tasks-*/data.jsonl"))))
    assert demonstrations[8].prompt.messages[0].content == f"{new['instruction']}\n\n{new['input']}"
    (learnt,) = tmp_path.glob("store/sft-*/artifact.json")
    assert json.loads(learnt.read_text())["summary"]["demonstrations"] == 13


def test_new_tasks_alone_and_none_like_held_out_data(tmp_path: Path) -> None:
    with serving(script) as server:
        run_behind(server, tmp_path / "first", ", include_seeds: false")
        first = rows(tmp_path / "first")
        spoilt = first[1]
        (tmp_path / "second").mkdir()
        held_out = json.dumps({"prompt": f"{spoilt['instruction']}\n\n{spoilt['input']}"})
        (tmp_path / "second" / "held.jsonl").write_text(held_out + "\n")
        run_behind(server, tmp_path / "second", ", include_seeds: false, held_out: [held.jsonl]")
    second = rows(tmp_path / "second")
    assert len(first) == len(second) == 5
    assert spoilt["instruction"] not in {row["instruction"] for row in second}
    assert first[0]["instruction"] == second[0]["instruction"]
    assert json.loads(made(tmp_path / "second", COUNTS))["dropped"] == {"like held-out data": 1}
    assert "held-out data" in second[0]["filters"]
    assert "held-out data" not in first[0]["filters"]


def test_seeds_that_are_held_out_are_not_learnt_from(tmp_path: Path) -> None:
    """They are counted as seeds, but are no rows."""
    path = write_recipe(tmp_path, SERVER, ", held_out: [held.jsonl]")
    other = {**SEEDS[7], "instruction": "Name a river that flows through Vienna."}
    (tmp_path / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*SEEDS[:7], other]))
    (tmp_path / "held.jsonl").write_text(json.dumps({"prompt": other["instruction"]}) + "\n")
    with serving(script) as server:
        path.write_text(path.read_text() % server.url)
        run(load_recipe(path), tmp_path / "store")
    seeds = [row["instruction"] for row in rows(tmp_path) if row["source"] == "seed"]
    assert seeds == [row["instruction"] for row in SEEDS[:7]]
    counts = json.loads(made(tmp_path, COUNTS))
    assert (counts["seeds"], counts["seed_rows"]) == (8, 7)


def test_going_on_after_a_stop_ends_where_an_unbroken_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow = self_instruct_stage.grow
    calls = []

    def stopping(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Interrupted("enough for today")
        return grow(*given, **named)

    with serving(script) as server:
        run_behind(server, tmp_path / "whole")
        monkeypatch.setattr(self_instruct_stage, "grow", stopping)
        with pytest.raises(Interrupted):
            run_behind(server, tmp_path / "broken")
        run_behind(server, tmp_path / "broken")
    assert len(calls) == 3  # the first round was not asked for twice
    for name in ("data.jsonl", COUNTS):
        assert made(tmp_path / "broken", name) == made(tmp_path / "whole", name)


def test_the_command_line_says_when_too_few_are_kept(tmp_path: Path, trimtab: CommandLine) -> None:  # noqa: F811
    write_recipe(tmp_path, "model: model", ", instances_per_task: 2")
    ended = trimtab("run", "recipe.yaml", "--store", "store")
    assert ended.code == 0, ended.err
    assert "0 tasks were kept in 4 rounds, of 5 wanted" in ended.out + ended.err  # a random model writes noise
    assert [row["source"] for row in rows(tmp_path)] == ["seed"] * 8
    counts = json.loads(made(tmp_path, COUNTS))
    assert counts["instructions"]["asked"] == 12
    assert counts["kept"]["tasks"] == 0
    assert sum(counts["dropped"].values()) >= 12


def test_mistakes_are_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="say what writes: model, or endpoint"):
        load_recipe(write_recipe(tmp_path, f"model: model, {SERVER % 'http://localhost/v1'}"))
    with pytest.raises(RecipeError, match=r"there is no file or folder .*absent"):
        load_recipe(write_recipe(tmp_path, "model: model", ", held_out: [absent.jsonl]"))
    (tmp_path / "held.jsonl").write_text('{"text": "Sing."}\n')
    path = write_recipe(tmp_path, "model: model", ", held_out: [held.jsonl]")
    with pytest.raises(DataError, match=r"tasks: .*without prompts"):
        check_data(load_recipe(path), ["tasks"])
    (tmp_path / "seeds.jsonl").write_text('{"instruction": "Sing."}\n')
    with pytest.raises(DataError, match=r"tasks: .*line 1: a seed task needs text as its output"):
        check_data(load_recipe(path), ["tasks"])
