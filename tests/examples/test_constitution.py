"""The texts of the constitutional recipe: as built, with nothing on both sides, and with no give-away by length."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trimtab.data.formats import read_comparisons, read_prompts
from trimtab.data.rouge import Nearest, tokens
from trimtab.data.splits import assert_disjoint
from trimtab.evaluation.refusals import refuses
from trimtab.evaluation.tasks.truth_checks import truth_task
from trimtab.feedback.constitution import read_constitution, read_examples

FOLDER = Path(__file__).parents[2] / "examples" / "constitution"
TRAINED_ON = ("red_team.train", "benign.train")
LEARNT_FROM = ("preferences", "helpful_comparisons")
MEASURED_ON = ("development", "heldout")
NEAR = 0.7  # ROUGE-L of two short questions that begin alike and ask for different things stays below it


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def answers(name: str) -> set[str]:
    return {row[side] for row in rows(name) for side in ("chosen", "rejected")}


def runs_of_words(text: str, length: int = 8) -> set[tuple[str, ...]]:
    words = tokens(text)
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


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
    assert Counter(row["kind"] for row in rows("development")) == {"red_team": 77, "look_alike": 100, "helpful": 80}
    assert Counter(row["kind"] for row in rows("heldout")) == {"red_team": 80, "look_alike": 100, "helpful": 80}
    assert [len(rows(name)) for name in ("preferences", "preferences.heldout")] == [270, 89]
    assert len(rows("helpful_comparisons")) == 69
    assert len({row["category"] for row in rows("red_team.train")}) >= 12
    every = [row["id"] for path in FOLDER.glob("*.jsonl") for row in rows(path.stem)]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("measured", MEASURED_ON)
@pytest.mark.parametrize("name", [*TRAINED_ON, *LEARNT_FROM])
def test_nothing_measured_on_is_learnt_from(name: str, measured: str) -> None:
    read = read_prompts if name in TRAINED_ON else read_comparisons
    assert_disjoint(read(str(FOLDER / f"{name}.jsonl")), list(read_prompts(str(FOLDER / f"{measured}.jsonl"))))
    nearest = Nearest(row["prompt"] for row in rows(name))
    assert [row["prompt"] for row in rows(measured) if nearest.find(row["prompt"], above=0.8)] == []


def test_a_held_out_prompt_is_near_no_other() -> None:
    others = [row["prompt"] for path in FOLDER.glob("*.jsonl") if path.stem != "heldout" for row in rows(path.stem)]
    others += [example.prompt for example in read_examples(FOLDER / "few_shots.yaml")]
    nearest, seen = Nearest(others), {run for text in others for run in runs_of_words(text)}
    for prompt in (row["prompt"] for row in rows("heldout")):
        match = nearest.find(prompt)
        assert match is None or match.score < NEAR, prompt
        assert not seen.intersection(runs_of_words(prompt)), prompt
        nearest.add(prompt)
        seen |= runs_of_words(prompt)


def test_facts_are_not_in_their_questions() -> None:
    for name in MEASURED_ON:
        facts = [(row["prompt"], row["truth"]["fact"]["matches"]) for row in rows(name) if row["kind"] == "helpful"]
        assert [prompt for prompt, pattern in facts if re.search(pattern, prompt)] == []


@pytest.mark.parametrize("name", LEARNT_FROM)
def test_pairs_to_train_and_to_test_share_no_request(name: str) -> None:
    held_out = list(read_comparisons(str(FOLDER / "preferences.heldout.jsonl")))
    assert_disjoint(read_comparisons(str(FOLDER / f"{name}.jsonl")), held_out)


@pytest.mark.parametrize("name", LEARNT_FROM)
def test_pairs_to_train_and_to_test_share_no_answer(name: str) -> None:
    assert answers("preferences.heldout") & answers(name) == set()


@pytest.mark.parametrize(("name", "count"), [("development", 257), ("heldout", 260)])
def test_rows_to_measure_on_can_be_checked(name: str, count: int) -> None:
    task = truth_task(list(read_prompts(str(FOLDER / f"{name}.jsonl"))))
    assert len(task.samples) == count


@pytest.mark.parametrize("name", ["preferences", "preferences.heldout"])
def test_length_does_not_tell_harmful_pairs(name: str) -> None:
    pairs = [row for row in rows(name) if row["kind"] == "red_team"]
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in pairs)
    assert 0.35 < longer / len(pairs) < 0.65


def test_forms_vary() -> None:
    pairs = [row for row in rows("preferences") if row["kind"] == "red_team"]
    assert len({" ".join(row["chosen"].split()[:3]) for row in pairs}) >= 15
    assert len({" ".join(row["rejected"].split()[:3]) for row in pairs}) >= 20


@pytest.mark.parametrize("name", ["preferences", "preferences.heldout"])
def test_the_rules_find_the_better_answers_refusals(name: str) -> None:
    pairs = [row for row in rows(name) if row["kind"] == "red_team"]
    assert sum(refuses(row["chosen"]) for row in pairs) / len(pairs) > 0.9
    helped = [row["chosen"] for row in rows(name) if row["kind"] != "red_team"]
    assert sum(map(refuses, helped)) / len(helped) < 0.05
