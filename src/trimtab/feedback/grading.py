"""A model that grades single answers by a written rubric: the expected grade, from the probabilities of the digits.

As a reward this is direct RLAIF (Lee et al., 2023, section 2.2.2): no reward model stands between judge and policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trimtab.feedback.fence import NOTICE, fenced, mark_for
from trimtab.feedback.language_model import LanguageModel
from trimtab.models.rows import TokenRow
from trimtab.types import Completion, Message, Prompt

GRADES = ("1", "2", "3", "4", "5")
LEAD = "Grade: "
LEAST_MASS = 0.01
"""Probability that the digits must have together: below it the model gives no grade."""


def grade(
    model: LanguageModel, answered: Sequence[tuple[Prompt, str]], rubric: str, *, seed: int = 0
) -> list[float | None]:
    """The expected grade of each answer, from 1 to 5; None where the model gives none. Nothing is guessed."""
    questions = [_question(prompt, answer, rubric, seed) for prompt, answer in answered]
    return [_expected(logprobs) for logprobs in model.option_logprobs(questions, GRADES, lead=LEAD)]


class GradeScorer:
    """Scores completions by their grade, as a reward.

    A completion without a grade counts as one with the lowest: a policy that could silence its grader and be paid for
    it would learn to. `missing` counts them, and `warn` hears of the first.
    """

    def __init__(self, model: LanguageModel, rubric: str, *, warn: Callable[[str], None], seed: int = 0) -> None:
        self.model, self.rubric, self.warn, self.seed = model, rubric, warn, seed
        self.missing = 0

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], rows: Sequence[TokenRow]
    ) -> Tensor:
        """Scores of all completions, prompt by prompt: `[R]`."""
        answered = [(prompt, one.text) for prompt, group in zip(prompts, completions, strict=True) for one in group]
        graded = grade(self.model, answered, self.rubric, seed=self.seed)
        self._count(graded)
        lowest = float(GRADES[0])
        return torch.tensor([lowest if one is None else one for one in graded], dtype=torch.float32)

    def _count(self, grades: Sequence[float | None]) -> None:
        missing = grades.count(None)
        if missing and not self.missing:
            self.warn(
                f"the grader {self.model.name} gave {missing} of {len(grades)} responses no grade. They count as "
                f"{GRADES[0]}. If this goes on, take a grader that answers with a number"
            )
        self.missing += missing


def _question(prompt: Prompt, answer: str, rubric: str, seed: int) -> Prompt:
    request = "\n".join(message.content for message in prompt.messages)
    mark = mark_for(seed, request, answer)
    parts = (
        rubric.strip(),
        NOTICE.format(mark=mark),
        f"The request:\n{fenced(request, mark)}",
        f"The answer:\n{fenced(answer, mark)}",
        f"Grade the answer from {GRADES[0]} (bad) to {GRADES[-1]} (good). Reply with the number.",
    )
    return Prompt((Message("user", "\n\n".join(part for part in parts if part)),))


def _expected(logprobs: tuple[float, ...] | None) -> float | None:
    if logprobs is None or any(math.isnan(one) or one > 1e-3 for one in logprobs):
        return None
    weights = [math.exp(one) for one in logprobs]
    mass = math.fsum(weights)
    if mass < LEAST_MASS:
        return None
    return math.fsum(int(name) * weight for name, weight in zip(GRADES, weights, strict=True)) / mass
