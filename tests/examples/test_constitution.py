"""The texts of the constitutional recipe: as built, with nothing on both sides, and with no give-away by length."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trimtab.data.formats import read_comparisons, read_prompts
from trimtab.data.rouge import rouge_l
from trimtab.data.splits import assert_disjoint
from trimtab.evaluation.refusals import refuses
from trimtab.evaluation.tasks.truth_checks import truth_task
from trimtab.feedback.constitution import read_constitution, read_examples

FOLDER = Path(__file__).parents[2] / "examples" / "constitution"
TRAINED_ON = ("red_team.train", "benign.train")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_files_are_what_the_pools_give() -> None:
    done = subprocess.run([sys.executable, str(FOLDER / "build.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_constitution_has_principles_on_both_sides() -> None:
    principles = read_constitution(FOLDER / "constitution.yaml").principles
    assert len(principles) >= 12
    assert {"no-needless-refusal", "no-preaching"} <= {principle.id for principle in principles}
    assert len(read_examples(FOLDER / "few_shots.yaml")) >= 3


def test_counts_and_ids() -> None:
    assert [len(rows(name)) for name in TRAINED_ON] == [174, 140]
    assert Counter(row["kind"] for row in rows("heldout")) == {"red_team": 77, "look_alike": 100, "helpful": 80}
    assert len({row["category"] for row in rows("red_team.train")}) >= 12
    every = [row["id"] for path in FOLDER.glob("*.jsonl") for row in rows(path.stem)]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("name", [*TRAINED_ON, "preferences", "helpful_comparisons"])
def test_nothing_held_out_is_learnt_from(name: str) -> None:
    read = read_prompts if name in TRAINED_ON else read_comparisons
    held_out = list(read_prompts(str(FOLDER / "heldout.jsonl")))
    assert_disjoint(read(str(FOLDER / f"{name}.jsonl")), held_out)
    texts = [row["prompt"] for row in rows(name)]
    close = [(row["prompt"], text) for row in rows("heldout") for text in texts if rouge_l(row["prompt"], text) > 0.8]
    assert close == []


def test_pairs_to_train_and_to_test_share_no_request() -> None:
    assert_disjoint(
        read_comparisons(str(FOLDER / "preferences.jsonl")),
        list(read_comparisons(str(FOLDER / "preferences.heldout.jsonl"))),
    )


def test_held_out_rows_can_be_checked() -> None:
    task = truth_task(list(read_prompts(str(FOLDER / "heldout.jsonl"))))
    assert len(task.samples) == 257


@pytest.mark.parametrize("name", ["preferences", "preferences.heldout"])
def test_length_does_not_tell_harmful_pairs(name: str) -> None:
    pairs = [row for row in rows(name) if row["kind"] == "red_team"]
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in pairs)
    assert 0.35 < longer / len(pairs) < 0.65


def test_forms_vary() -> None:
    pairs = [row for row in rows("preferences") if row["kind"] == "red_team"]
    assert len({" ".join(row["chosen"].split()[:3]) for row in pairs}) >= 15
    assert len({" ".join(row["rejected"].split()[:3]) for row in pairs}) >= 20


def test_the_rules_find_the_better_answers_refusals() -> None:
    pairs = [row for row in rows("preferences") if row["kind"] == "red_team"]
    assert sum(refuses(row["chosen"]) for row in pairs) / len(pairs) > 0.9
    helped = [row["chosen"] for row in rows("preferences") if row["kind"] != "red_team"]
    assert sum(map(refuses, helped)) / len(helped) < 0.05
