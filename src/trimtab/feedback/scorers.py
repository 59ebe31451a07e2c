"""Scorers: what gives a completion its raw score. A reward model, or any function of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trimtab.data.chat import ChatTemplate
from trimtab.models.reward_model import RewardModel
from trimtab.models.rows import TokenRow
from trimtab.types import Comparison, Completion, Prompt

TOKENS_AT_ONCE = 2048


class RewardModelScorer:
    """Scores by a reward model, read where each completion's turn ends.

    One that was cut is read as if it ended there. Reward models learn from finished responses, so what one says at any
    other token means nothing, and a policy soon finds where that is a lot.
    """

    def __init__(self, model: RewardModel, template: ChatTemplate, *, max_tokens: int) -> None:
        self.model = model
        self.template = template
        self.max_tokens = max_tokens

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], rows: Sequence[TokenRow]
    ) -> Tensor:
        """Scores of all completions, prompt by prompt: `[R]`."""
        ended = [TokenRow(row.prompt_ids, tuple(map(self._ended, row.responses))) for row in rows]
        return torch.cat(self.model.score_rows(ended, pad_id=self.template.pad_id, max_tokens=self.max_tokens))

    def _ended(self, response: tuple[int, ...]) -> tuple[int, ...]:
        has_end = response and response[-1] in self.template.stop_ids
        return response if has_end else (*response, self.template.end_of_turn_id)


class FunctionScorer:
    """Scores by a program: `function(prompt, completion) -> float`."""

    def __init__(self, function: Callable[[Prompt, Completion], float]) -> None:
        self.function = function

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], rows: Sequence[TokenRow]
    ) -> Tensor:
        """Scores of all completions, prompt by prompt: `[R]`."""
        return torch.tensor(
            [
                self.function(p, completion)
                for p, group in zip(prompts, completions, strict=True)
                for completion in group
            ],
            dtype=torch.float32,
        )


def score_texts(
    model: RewardModel, template: ChatTemplate, answered: Sequence[tuple[Prompt, Sequence[str]]]
) -> list[list[float]]:
    """The scores of finished answers to each prompt, as texts, whatever model wrote them."""
    rows = [text_row(template, prompt, answers) for prompt, answers in answered]
    return [scores.tolist() for scores in model.score_rows(rows, pad_id=template.pad_id, max_tokens=TOKENS_AT_ONCE)]


def score_comparisons(
    model: RewardModel, template: ChatTemplate, comparisons: Sequence[Comparison]
) -> tuple[list[float], list[float]]:
    """The scores of the chosen responses, and of the rejected ones."""
    scores = score_texts(model, template, [(one.prompt, [one.chosen, one.rejected]) for one in comparisons])
    return [chosen for chosen, _ in scores], [rejected for _, rejected in scores]


def text_row(template: ChatTemplate, prompt: Prompt, answers: Sequence[str]) -> TokenRow:
    """A prompt and finished answers to it as a reward model reads them."""
    return TokenRow(tuple(template.prompt_ids(prompt)), tuple(tuple(template.response_ids(text)) for text in answers))
