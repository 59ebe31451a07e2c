"""Text records to token rows: the one place where training data is tokenised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.data.chat import ChatTemplate
from trimtab.errors import DataError
from trimtab.models.rows import TokenRow
from trimtab.types import Comparison, Demonstration, Prompt


@dataclass(frozen=True, slots=True)
class Pair:
    """A comparison between two responses of one row, by their places in it."""

    chosen: int
    rejected: int
    probability: float
    margin: float


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A prompt, its distinct responses, and every comparison made between them.

    All comparisons of a prompt stay together: spread over batches they overfit in one pass (InstructGPT, section 3.5).
    """

    row: TokenRow
    pairs: tuple[Pair, ...]


def demonstration_rows(
    demonstrations: Sequence[Demonstration], template: ChatTemplate, *, max_length: int
) -> list[TokenRow]:
    """One row a demonstration. Raises `DataError` for one longer than `max_length` tokens."""
    rows = [
        TokenRow(tuple(template.prompt_ids(d.prompt)), (tuple(template.response_ids(d.response)),))
        for d in demonstrations
    ]
    _check_lengths(rows, max_length, "demonstration")
    return rows


def preference_rows(
    comparisons: Sequence[Comparison], template: ChatTemplate, *, max_length: int
) -> list[PreferenceRow]:
    """One row a prompt, in the order in which prompts appear. Raises `DataError` for a row that is too long."""
    by_prompt: dict[Prompt, list[Comparison]] = {}
    for comparison in comparisons:
        by_prompt.setdefault(comparison.prompt, []).append(comparison)
    rows = []
    for prompt, group in by_prompt.items():
        texts = list(dict.fromkeys(text for c in group for text in (c.chosen, c.rejected)))
        pairs = tuple(Pair(texts.index(c.chosen), texts.index(c.rejected), c.probability, c.margin) for c in group)
        responses = tuple(tuple(template.response_ids(text)) for text in texts)
        rows.append(PreferenceRow(TokenRow(tuple(template.prompt_ids(prompt)), responses), pairs))
    _check_lengths([row.row for row in rows], max_length, "compared prompt")
    return rows


def check_prompts(prompts: Sequence[Prompt], template: ChatTemplate, *, max_length: int) -> None:
    """Raise `DataError` for a prompt that leaves no room for the longest response."""
    for number, prompt in enumerate(prompts, start=1):
        length = len(template.prompt_ids(prompt))
        if length > max_length:
            raise DataError(
                f"prompt {number} has {length} tokens, and before the longest response there is room for {max_length}. "
                "Lower max_new_tokens, raise max_length if the model reads further, or take the prompt out of the data"
            )


def _check_lengths(rows: Sequence[TokenRow], max_length: int, what: str) -> None:
    """A conversation cut in the middle teaches a model never to stop, so nothing is cut silently."""
    for number, row in enumerate(rows, start=1):
        longest = len(row.prompt_ids) + max(map(len, row.responses))
        if longest > max_length:
            raise DataError(
                f"{what} {number} has {longest} tokens with its longest response; max_length is {max_length}. "
                "Raise max_length, or take the row out of the data"
            )
