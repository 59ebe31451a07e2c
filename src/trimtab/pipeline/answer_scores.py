"""A reward model's scores of what models answered, read as text, whatever model wrote it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from trimtab.data.chat import ChatTemplate
from trimtab.evaluation.outputs import ModelOutputs
from trimtab.feedback.scorers import TOKENS_AT_ONCE, text_row
from trimtab.models.reward_model import RewardModel
from trimtab.models.rows import TokenRow
from trimtab.types import Completion


def with_scores(
    outputs: ModelOutputs, judge: RewardModel, template: ChatTemplate, progress: Callable[[str, int, int], None]
) -> ModelOutputs:
    """The same answers with the reward model's scores."""
    sampled = outputs.sampled or [()] * len(outputs.greedy)
    groups = [[one, *several] for one, several in zip(outputs.greedy, sampled, strict=True)]
    scores: list[list[float]] = []
    for start in range(0, len(groups), 16):
        rows = [_answer_row(template, group) for group in groups[start : start + 16]]
        scores += [s.tolist() for s in judge.score_rows(rows, pad_id=template.pad_id, max_tokens=TOKENS_AT_ONCE)]
        progress(f"scoring the answers of {outputs.name}", len(scores), len(groups))
    greedy_scores = [row[0] for row in scores]
    sampled_scores = [row[1:] for row in scores] if outputs.sampled else ()
    return dataclasses.replace(outputs, greedy_scores=greedy_scores, sampled_scores=sampled_scores)


def _answer_row(template: ChatTemplate, group: Sequence[Completion]) -> TokenRow:
    """The judge's row of a group of answers. One that was cut off has no end of turn."""
    row = text_row(template, group[0].prompt, [one.text for one in group])
    ends = [None if one.finish_reason == "stop" else -1 for one in group]
    return TokenRow(row.prompt_ids, tuple(ids[:end] for ids, end in zip(row.responses, ends, strict=True)))
