"""A run does what is missing, in order, and leaves nothing half done to be seen."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from tests.pipeline.world import Kitchen

from trimtab.errors import DataError, Interrupted, NumericsError, RecipeError, UserError
from trimtab.pipeline import artifacts
from trimtab.pipeline.artifacts import artifacts_in, partial_folder, read_artifact, state_folder
from trimtab.pipeline.disk import locked
from trimtab.pipeline.runner import plan

ORDER = ["sft", "reward_model", "ppo", "evaluation", "report"]


def fail(error: BaseException) -> Any:
    def raise_it(context: Any) -> None:
        (context.folder / "half").write_text("written before the failure")
        raise error

    return raise_it


def test_stages_run_in_order_with_the_artifacts_they_refer_to(kitchen: Kitchen) -> None:
    finished = kitchen.run()
    assert kitchen.ran == ORDER
    folders = {one.artifact.name: one.artifact.path for one in finished}
    assert json.loads((folders["policy"] / "made.json").read_text()) == {
        "sft": folders["sft"].name,
        "reward_model": folders["reward_model"].name,
    }
    assert kitchen.visible() == ["held_out", "policy", "report", "reward_model", "sft"]
    assert kitchen.left(".partial") == kitchen.left(".state") == []


def test_the_context_tells_what_a_report_needs(kitchen: Kitchen) -> None:
    seen: list[Any] = []
    kitchen.does("report", seen.append)
    finished = kitchen.run(command="trimtab run desk.yaml")
    (context,) = seen
    assert context.folders == tuple(one.artifact.path for one in finished[:-1])
    assert (context.title, context.recipe, context.command) == ("Expense desk", kitchen.path, "trimtab run desk.yaml")


def test_an_artifact_records_how_it_was_made(kitchen: Kitchen) -> None:
    sft, reward_model, *_ = kitchen.run()
    record = json.loads((reward_model.artifact.path / "artifact.json").read_text())
    assert (record["name"], record["kind"], record["key"]) == (
        "reward_model",
        "reward_model",
        reward_model.artifact.key,
    )
    assert record["config"]["seed"] == 3
    assert record["config"]["data"] == "data/comparisons.jsonl"  # as in the recipe: a record tells no one's home
    assert record["inputs"] == {"sft": sft.artifact.key}
    assert record["summary"] == {"inputs": 1}
    assert set(record["versions"]) == {"trimtab", "torch", "transformers"}
    assert {"processor", "precision", "peak memory"} <= set(record["machine"])
    assert read_artifact(reward_model.artifact.path) == reward_model.artifact


def test_a_second_run_does_nothing(kitchen: Kitchen) -> None:
    first = kitchen.run()
    kitchen.functions = dict.fromkeys(kitchen.functions, fail(AssertionError("must not run")))
    second = kitchen.run()
    assert [one.artifact for one in second] == [one.artifact for one in first]
    assert [one.ran for one in first] == [True] * 5
    assert [one.ran for one in second] == [False] * 5


def test_a_change_runs_what_depends_on_it(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.ran.clear()
    kitchen.run("policy.kl_coef=0.5")
    assert kitchen.ran == ["ppo", "evaluation", "report"]
    kitchen.ran.clear()
    kitchen.run()  # the first artifacts are still there
    assert kitchen.ran == []


def test_until_runs_a_stage_and_what_it_stands_on(kitchen: Kitchen) -> None:
    finished = kitchen.run(until="policy")
    assert [one.artifact.name for one in finished] == ["sft", "reward_model", "policy"]
    with pytest.raises(RecipeError, match="no stage 'polcy'; did you mean policy"):
        kitchen.run(until="polcy")


def test_a_plan_tells_what_is_done(kitchen: Kitchen) -> None:
    kitchen.run(until="sft")
    stages = plan(kitchen.recipe(), kitchen.store)
    assert [one.status for one in stages] == ["done", "missing", "missing", "missing", "missing"]
    assert stages[2].inputs == {"model": "sft", "reward_model": "reward_model"}


@pytest.mark.parametrize("error", [NumericsError("the loss is nan"), DataError("row 3 is bad")])
def test_a_failing_stage_is_named_and_leaves_no_artifact(kitchen: Kitchen, error: UserError) -> None:
    kitchen.does("ppo", fail(error))
    with pytest.raises(type(error), match=f"^policy: {error}$"):
        kitchen.run()
    assert kitchen.visible() == ["reward_model", "sft"]
    assert kitchen.left(".partial") == []
    kitchen.functions["ppo"] = kitchen.stage
    kitchen.run()
    assert kitchen.ran == ORDER


def test_a_bug_is_no_user_error(kitchen: Kitchen) -> None:
    kitchen.does("sft", fail(ZeroDivisionError("oops")))
    with pytest.raises(ZeroDivisionError):
        kitchen.run()
    assert kitchen.visible() == []
    assert kitchen.left(".partial") == []


DISK_FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", DISK_FULL, ids=["no space", "quota", "safetensors"])
def test_a_full_disk_is_told_and_leaves_no_artifact(kitchen: Kitchen, error: Exception) -> None:
    kitchen.does("ppo", fail(error))
    with pytest.raises(UserError, match=r"policy: the disk that holds .*store is full.*go on with: trimtab run") as got:
        kitchen.run(command="trimtab run desk.yaml")
    assert not isinstance(got.value, Interrupted)
    assert kitchen.visible() == ["reward_model", "sft"]
    assert kitchen.left(".partial") == []


def test_a_disk_that_fills_up_while_an_artifact_is_published(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "sync_tree", lambda folder: fail(DISK_FULL[0])(type("C", (), {"folder": folder})))
        with pytest.raises(UserError, match="is full"):
            kitchen.run()
    assert kitchen.visible() == kitchen.left(".partial") == []
    assert kitchen.run()[0].ran


def test_another_error_of_the_system_is_not_called_a_full_disk(kitchen: Kitchen) -> None:
    kitchen.does("sft", fail(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(PermissionError):
        kitchen.run()


def test_what_a_kill_left_half_written_is_thrown_away(kitchen: Kitchen) -> None:
    first = plan(kitchen.recipe(), kitchen.store)[0]
    partial = partial_folder(first.folder)
    partial.mkdir(parents=True)
    (partial / "artifact.json").write_text("half")
    assert artifacts_in(kitchen.store) == []
    finished = kitchen.run(until="sft")
    assert sorted(path.name for path in finished[0].artifact.path.iterdir()) == ["artifact.json", "inner", "made.json"]


def test_state_that_a_kill_left_beside_a_finished_artifact_is_removed(kitchen: Kitchen) -> None:
    (finished,) = kitchen.run(until="sft")
    state_folder(finished.artifact.path).mkdir()
    kitchen.run(until="sft")
    assert kitchen.left(".state") == []


def test_a_damaged_artifact_is_told(kitchen: Kitchen) -> None:
    (finished,) = kitchen.run(until="sft")
    (finished.artifact.path / "artifact.json").write_text('{"name": "sft"')
    with pytest.raises(DataError, match=r"is no whole artifact.*Remove the folder"):
        kitchen.run()


def test_a_store_has_one_run_at_a_time(kitchen: Kitchen) -> None:
    with locked(kitchen.store), pytest.raises(UserError, match=r"another run \(process \d+\) is at work in .*store"):
        kitchen.run()
    assert kitchen.run()


def test_the_lock_goes_when_a_run_fails(kitchen: Kitchen) -> None:
    kitchen.does("sft", fail(DataError("bad")))
    for _ in range(2):
        with pytest.raises(DataError, match="bad"):
            kitchen.run()


def test_the_seed_is_the_stages(kitchen: Kitchen) -> None:
    seeds = {one.artifact.name: (one.artifact.path / "inner" / "weights").read_text() for one in kitchen.run()}
    assert seeds["sft"] == "17"
    assert seeds["reward_model"] == "3"


def test_synced_before_renamed(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of an artifact is on the disk before its name is."""
    synced: list[Path] = []
    visible_at_sync: list[bool] = []
    real = artifacts.sync_tree

    def watch(folder: Path) -> None:
        real(folder)
        synced.extend(path for path in folder.rglob("*") if path.is_file())
        visible_at_sync.append(bool(kitchen.visible()))

    monkeypatch.setattr(artifacts, "sync_tree", watch)
    kitchen.run(until="sft")
    assert {path.name for path in synced} == {"artifact.json", "made.json", "weights"}
    assert visible_at_sync == [False]
