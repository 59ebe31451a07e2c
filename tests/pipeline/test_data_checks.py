"""What is looked at before the first stage runs, and held-out data that is not held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.config.world import write_recipe
from tests.pipeline.world import Kitchen

from trimtab.config import load_recipe
from trimtab.errors import DataError, UserError
from trimtab.pipeline.data_checks import check_data

ROWS: dict[str, list[dict[str, Any]]] = {
    "demonstrations": [{"prompt": "Coffee?", "completion": "Meals"}],
    "comparisons": [{"prompt": "Tea?", "chosen": "Meals", "rejected": "Travel"}],
    "prompts": [{"prompt": "Cake?"}],
    "held_out": [{"prompt": "Taxi?", "truth": {"word": {"contains": "Travel"}}}],
}


def check(folder: Path, **rows: list[dict[str, Any]]) -> None:
    path = write_recipe(folder)
    for name, written in (ROWS | rows).items():
        (folder / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written))
    check_data(load_recipe(path), ["sft", "reward_model", "policy", "held_out"])


def test_good_data_pass(tmp_path: Path) -> None:
    check(tmp_path)


def test_a_bad_row_of_a_late_stage_is_told_before_the_first_runs(kitchen: Kitchen) -> None:
    (kitchen.path.parent / "data" / "comparisons.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n')
    with pytest.raises(
        DataError, match=r"(?s)^reward_model: .*comparisons.jsonl, line 1: chosen and rejected are the same"
    ):
        kitchen.run()
    assert kitchen.ran == []


@pytest.mark.parametrize(
    ("stage", "name", "row"),
    [
        ("sft", "demonstrations", {"completion": "Travel"}),
        ("reward_model", "comparisons", {"chosen": "Travel", "rejected": "Meals"}),
        ("policy", "prompts", {}),
    ],
)
def test_held_out_prompts_must_not_be_learnt_from(tmp_path: Path, stage: str, name: str, row: dict[str, str]) -> None:
    """Case and white space do not make another prompt of it."""
    with pytest.raises(DataError, match=rf"^held_out: held-out data and the data of {stage} overlap.*'Taxi\?'"):
        check(tmp_path, **{name: [*ROWS[name], {"prompt": " taxi?", **row}]})


def test_texts_without_prompts_overlap_with_nothing(tmp_path: Path) -> None:
    check(tmp_path, demonstrations=[{"text": "Taxi?"}])


def test_a_prompt_counts_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="held_out: a prompt comes twice"):
        check(tmp_path, held_out=[*ROWS["held_out"], {"prompt": "taxi? ", "truth": {"word": {"contains": "x"}}}])


def test_a_check_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"held_out: .*unknown kind 'conains'"):
        check(tmp_path, held_out=[{"prompt": "Taxi?", "truth": {"word": {"conains": "Travel"}}}])


@pytest.mark.parametrize(
    ("stage", "row"), [("dpo", {"chosen": "Travel", "rejected": "Meals"}), ("grpo", {"truth": {"x": {"max_words": 3}}})]
)
def test_what_dpo_and_grpo_learnt_from_is_not_held_out(tmp_path: Path, stage: str, row: dict[str, Any]) -> None:
    recipe = {
        "stages": {
            stage: {"model": "smollm2-135m-instruct", "data": "data/learnt.jsonl"},
            "evaluation": {"base": "smollm2-135m-instruct", "models": [stage], "prompts": "data/held_out.jsonl"},
        }
    }
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "learnt.jsonl").write_text(json.dumps({"prompt": "held_out ", **row}) + "\n")
    path = write_recipe(tmp_path, json.dumps(recipe))
    with pytest.raises(DataError, match=rf"^evaluation: held-out data and the data of {stage} overlap"):
        check_data(load_recipe(path), [stage, "evaluation"])


GROUPED = """\
stages:
  grpo: {model: smollm2-135m-instruct, data: data/prompts.jsonl}
"""


@pytest.mark.parametrize(
    ("row", "told"),
    [({}, "no column 'truth'"), ({"truth": {"word": {"conains": "Travel"}}}, "unknown kind 'conains'")],
)
def test_checks_that_will_score_are_looked_at_first(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    """Without a reward model GRPO needs checks for every prompt; a prompt without is told now, not when its turn comes
    after an hour of training. With one it needs none."""
    path = write_recipe(tmp_path, GROUPED)
    rows = [{"prompt": "Taxi?", "truth": {"word": {"contains": "Travel"}}}, {"prompt": "Bus?", **row}]
    (tmp_path / "data" / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "judge").mkdir()
    check_data(load_recipe(path, [f"grpo.reward_model={tmp_path / 'judge'}"]), ["grpo"])
    with pytest.raises(DataError, match=f"grpo: .*{told}"):
        check_data(load_recipe(path), ["grpo"])


def test_data_changed_under_a_running_stage_make_no_artifact(kitchen: Kitchen) -> None:
    data = kitchen.path.parent / "data" / "demonstrations.jsonl"
    kitchen.does("sft", lambda context: data.write_text('{"prompt": "other", "completion": "a"}\n'))
    with pytest.raises(UserError, match="sft: its data or its model was changed while it ran"):
        kitchen.run(until="sft")
    assert kitchen.visible() == []


def feedback(folder: Path, judge: str = "", revise: str = "") -> None:
    """Check a recipe with a judge and a reviser; a judge that learnt from `learnt.jsonl` and is trusted on another."""
    from tests.feedback.world import write_constitution, write_examples

    write_constitution(folder)
    write_examples(folder)
    rows = {"prompts": {"prompt": "Tea?"}, "learnt": {"prompt": "Taxi?", "chosen": "Travel", "rejected": "Meals"}}
    rows["trusted"] = {"prompt": "Train?", "chosen": "Travel", "rejected": "Meals"}
    for name, row in rows.items():
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "recipe.yaml").write_text(
        "stages:\n"
        "  scorer: {kind: reward_model, model: smollm2-135m-instruct, data: learnt.jsonl}\n"
        "  labels: {kind: judge, model: smollm2-135m-instruct, data: prompts.jsonl, JUDGE}\n"
        "  revisions: {kind: revise, model: smollm2-135m-instruct, data: prompts.jsonl, REVISE}\n"
        .replace("JUDGE", judge or "judge: scorer")
        .replace("REVISE", revise or "constitution: constitution.yaml")
    )  # fmt: skip
    check_data(load_recipe(folder / "recipe.yaml"), ["scorer", "labels", "revisions"])


def test_a_judge_is_trusted_on_what_it_did_not_learn_from(tmp_path: Path) -> None:
    feedback(tmp_path, "judge: scorer, trusted: trusted.jsonl")
    with pytest.raises(DataError, match=r"^labels: held-out data and the data of scorer overlap.*'Taxi\?'"):
        feedback(tmp_path, "judge: scorer, trusted: learnt.jsonl")


@pytest.mark.parametrize(
    ("judge", "revise", "told"),
    [
        ("judge: scorer, trusted: prompts.jsonl", "", "labels: .*not comparisons"),
        ("judge: smollm2-135m-instruct, constitution: prompts.jsonl", "", "^labels: .*prompts.jsonl"),
        ("", "constitution: prompts.jsonl", "^revisions: .*prompts.jsonl"),
        ("", "constitution: constitution.yaml, examples: constitution.yaml", "^revisions: .*constitution.yaml"),
        ("", "constitution: constitution.yaml, helpful: [prompts.jsonl, constitution.yaml]", "^revisions: "),
    ],
)
def test_what_feedback_needs_beside_its_data_is_read_first(tmp_path: Path, judge: str, revise: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        feedback(tmp_path, judge, revise)
