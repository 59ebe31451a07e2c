from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from tests.feedback.world import asked

from trimtab.feedback.grading import GradeScorer, grade
from trimtab.types import Completion, Prompt


class Grader:
    """Gives the digits the probabilities that an answer names: "0.1 0.2 0.3 0.2 0.1"."""

    name = "grader"

    def option_logprobs(
        self, questions: Sequence[Prompt], options: Sequence[str], **_: Any
    ) -> list[tuple[float, ...] | None]:
        assert list(options) == ["1", "2", "3", "4", "5"]
        found: list[tuple[float, ...] | None] = []
        for question in questions:
            answer = question.messages[-1].content.split("The answer:\n")[1].split("\n")[1]
            numbers = [float(part) for part in answer.split()] if answer[0].isdigit() else None
            found.append(tuple(math.log(p) if p else -math.inf for p in numbers) if numbers else None)
        return found

    def write(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a grader is asked for numbers alone")


def test_a_grade_is_the_expected_digit() -> None:
    answers = ["0 0 0 0 1", "0.25 0.25 0 0 0", "0.1 0.1 0.1 0.1 0.1", "no grade", "0.001 0.001 0.001 0 0"]
    found = grade(Grader(), [(asked("request"), answer) for answer in answers], "Be strict.")  # type: ignore[arg-type]
    assert found == [5.0, pytest.approx(1.5), pytest.approx(3.0), None, None]


def test_silencing_the_grader_does_not_pay() -> None:
    said: list[str] = []
    scorer = GradeScorer(Grader(), "Be strict.", warn=said.append)  # type: ignore[arg-type]
    prompts = [asked("one"), asked("two")]
    texts = [["0 0 0 0 1", "no grade", "1 0 0 0 0"], ["no grade", "none"]]
    groups = [
        [Completion(prompt, text, (), (), "stop") for text in group]
        for prompt, group in zip(prompts, texts, strict=True)
    ]
    assert scorer(prompts, groups, []).tolist() == [5.0, 1.0, 1.0, 1.0, 1.0]
    assert scorer.missing == 3
    assert scorer(prompts, groups, []).tolist() == [5.0, 1.0, 1.0, 1.0, 1.0]
    assert scorer.missing == 6
    assert len(said) == 1
    assert "the grader grader gave 3 of 5 responses no grade" in said[0]
