"""From a model as people write it to what can be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.pipeline.world import Kitchen

from trimtab.errors import UserError
from trimtab.pipeline.artifacts import partial_folder, read_artifact
from trimtab.pipeline.find import find_policy


@pytest.fixture
def store(kitchen: Kitchen) -> Path:
    """A finished run with the stages sft, reward_model, policy (ppo), held_out and report."""
    kitchen.run()
    return kitchen.store


def only(store: Path, stage: str) -> Path:
    (folder,) = (path for path in store.iterdir() if path.name.rpartition("-")[0] == stage)
    return folder


def refused(name: object) -> str:
    with pytest.raises(UserError) as caught:
        find_policy(str(name))
    return str(caught.value)


@pytest.mark.parametrize("stage", ["sft", "policy"])
def test_a_stage_that_writes_is_its_artifact(store: Path, stage: str) -> None:
    assert find_policy(f"{store}/{stage}") == str(only(store, stage))
    assert find_policy(f"{store}/{stage}/") == str(only(store, stage))


def test_the_newest_artifact_is_taken(kitchen: Kitchen, store: Path) -> None:
    first = only(store, "sft")
    again = kitchen.run("sft.learning_rate=0.5")[0].artifact
    assert again.path != first
    assert find_policy(f"{store}/sft") == str(again.path)
    assert again.record.created > read_artifact(first).record.created


def test_a_relative_name_is_seen_from_here(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)
    assert find_policy("store/sft") == str(Path("store") / only(store, "sft").name)
    monkeypatch.chdir(store)
    assert find_policy("./policy") == only(store, "policy").name


def test_an_artifacts_own_folder_is_itself(store: Path) -> None:
    assert find_policy(str(only(store, "policy"))) == str(only(store, "policy"))


@pytest.mark.parametrize("name", ["reward_model", "held_out", "report"])
def test_a_stage_that_does_not_write_is_refused(store: Path, name: str) -> None:
    for written in (store / name, only(store, name)):
        said = refused(written)
        assert "writes no text: stages of kind sft, text_tuning, dpo, ppo and grpo do" in said
        assert f"Its models are: {store}/sft, {store}/policy" in said


def test_an_absent_stage_names_its_neighbour_and_what_is_there(store: Path) -> None:
    assert refused(store / "polcy") == (
        f"there is no finished stage 'polcy' in {store}. Did you mean policy? Finished there: sft (sft), "
        "reward_model (reward_model), policy (ppo), held_out (evaluation), report (report)"
    )


def test_an_unfinished_stage_is_no_model(kitchen: Kitchen) -> None:
    def killed(context: object) -> None:
        raise KeyboardInterrupt

    kitchen.does("ppo", killed)
    with pytest.raises(KeyboardInterrupt):
        kitchen.run()
    assert "is not finished" in refused(kitchen.store / "policy")


def test_a_partial_artifact_is_not_seen(store: Path) -> None:
    only(store, "sft").rename(partial_folder(only(store, "sft")))
    assert "no finished stage 'sft'" in refused(store / "sft")


def test_a_run_is_no_model(store: Path) -> None:
    assert refused(store) == f"{store} is the folder of a run, not a model. Its models are: {store}/sft, {store}/policy"


def test_a_run_that_is_not_there_names_its_neighbour(store: Path) -> None:
    assert refused(store.parent / "stor") == f"there is no run 'stor' in {store.parent}; did you mean store?"
    assert f"there is no folder {store.parent}/stor" in refused(store.parent / "stor" / "sft")


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "someone/model", "someone/model@main", "nothing"])
def test_other_names_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_policy(name) == name


def test_a_folder_without_artifacts_stays_as_it_is(tmp_path: Path) -> None:
    assert find_policy(str(tmp_path)) == str(tmp_path)
