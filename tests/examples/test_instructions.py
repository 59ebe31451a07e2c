"""The instruction set: as built, large and varied enough, right by its own checks, and with nothing on both sides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trimtab.data.formats import read_demonstrations, read_prompts
from trimtab.data.splits import assert_disjoint
from trimtab.evaluation.outputs import group_prompts
from trimtab.evaluation.tasks.answered import continuation
from trimtab.evaluation.tasks.truth_checks import score_response, truth_task
from trimtab.types import Completion

FOLDER = Path(__file__).parents[2] / "examples" / "instructions"
TRAIN, HELD_OUT = str(FOLDER / "train.jsonl"), str(FOLDER / "heldout.jsonl")


def rows(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def prompts() -> list:
    return list(read_prompts(HELD_OUT))


def test_the_files_are_what_the_pools_give() -> None:
    checked = subprocess.run([sys.executable, FOLDER / "build.py", "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_there_is_enough_of_many_kinds(prompts: list) -> None:
    train = rows(TRAIN)
    assert len(train) >= 320
    assert len({row["id"] for row in train}) == len(train)
    assert len(Counter(row["kind"] for row in train)) >= 20
    assert max(Counter(row["kind"] for row in train).values()) < len(train) / 8
    assert len(prompts) >= 120
    assert len(group_prompts(prompts).groups) >= 15


def test_most_answers_are_short_and_none_is_empty() -> None:
    """A token of English is about four letters: 480 letters are about 120 tokens."""
    lengths = sorted(len(one.response) for one in read_demonstrations(TRAIN))
    assert lengths[0] > 0
    assert lengths[len(lengths) * 9 // 10] < 480


def test_nothing_is_on_both_sides(prompts: list) -> None:
    train = list(read_demonstrations(TRAIN))
    assert_disjoint(train, prompts)
    questions = [row["messages"][-2]["content"] for row in rows(TRAIN) if len(row["messages"]) == 2]
    assert len(set(questions)) == len(questions)


def test_the_question_that_every_report_shows_was_never_taught() -> None:
    for path in (TRAIN, HELD_OUT):
        text = Path(path).read_text(encoding="utf-8")
        assert "Paris" not in text
        assert "capital of France" not in text


def test_every_reference_answer_passes_its_own_checks_and_few_others(prompts: list) -> None:
    samples = truth_task(prompts).samples
    references = [row["reference"] for row in rows(HELD_OUT)]
    failed = [
        (sample.id, score.explanation)
        for sample, reference in zip(samples, references, strict=True)
        if not (score := score_response(sample, reference)).passed
    ]
    assert failed == []
    others = references[len(references) // 2 :] + references[: len(references) // 2]
    passed = [score_response(sample, other).passed for sample, other in zip(samples, others, strict=True)]
    assert sum(passed) < len(passed) / 10


def test_no_good_answer_is_taken_for_a_continuation(prompts: list) -> None:
    answers = [(prompt, row["reference"]) for prompt, row in zip(prompts, rows(HELD_OUT), strict=True)]
    answers += [(one.prompt, one.response) for one in read_demonstrations(TRAIN)]
    found = {text: why for prompt, text in answers if (why := continuation(Completion(prompt, text, (), (), "stop")))}
    assert found == {}
