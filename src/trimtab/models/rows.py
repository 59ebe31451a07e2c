"""The row layout: a prompt once, then all its responses, in one sequence.

    row:      [ prompt | response 1 | response 2 | ... ]
    position:   0..p-1   p..p+n1-1    p..p+n2-1           each response continues the prompt
    mask:       causal, and a response sees the prompt and itself only

Every method is this layout with a different number of responses: 1 for a demonstration, 2 for a comparison, the group
size for a rollout. This file is the only place that knows where a response starts: everything above it sees response
tensors `[R, T]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PROMPT_SEGMENT = 0
PADDING_SEGMENT = -1


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A tokenised prompt and its tokenised responses. A finished response ends with the end-of-turn token."""

    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise ValueError("a row needs at least one prompt token: the first response token is predicted from it")

    @property
    def num_tokens(self) -> int:
        """Length of the row: prompt once, then every response."""
        return len(self.prompt_ids) + sum(len(response) for response in self.responses)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """B rows laid out as tensors, right-padded to length L, with R responses of at most T tokens in all.

    Shapes: `input_ids`, `positions`, `segments` `[B, L]`; `targets`, `mask` and `predicted_from` `[R, T]`.
    `predicted_from[r, t]` is the flat index into `[B * L]` of the hidden state that predicts token t of response r (for
    t = 0, the last prompt token); `last_token[r]` that of the response's own last token, where a scalar head reads.
    """

    input_ids: Tensor
    positions: Tensor
    segments: Tensor
    targets: Tensor
    mask: Tensor
    predicted_from: Tensor
    last_token: Tensor

    def attention_mask(self, sliding_window: int | None = None) -> Tensor:
        """Which token sees which: `[B, 1, L, L]`, True where row i may look at column j.

        A window counts positions, not places in the row, so a response sees as much of its prompt as if it were alone.
        Padding sees itself alone, which keeps its softmax finite.
        """
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        length = self.segments.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.segments.device).tril()
        allowed = causal & ((key == PROMPT_SEGMENT) | (key == query)) & (query != PADDING_SEGMENT)
        if sliding_window is not None:
            allowed &= self.positions[:, :, None] - self.positions[:, None, :] < sliding_window
        itself = torch.eye(length, dtype=torch.bool, device=self.segments.device)
        return (allowed | itself)[:, None]

    def means(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The mean state of each row's prompt `[B, D]` and of each response's own tokens `[R, D]`.

        `states` is `[B * L, D]`. A response without tokens has the state of its prompt's last one.
        """
        in_prompt = (self.segments == PROMPT_SEGMENT).to(states.dtype)[:, :, None]
        prompts = (states.view(*self.segments.shape, -1) * in_prompt).sum(1) / in_prompt.sum(1)
        lengths = self.mask.sum(1).clamp(min=1)
        back = torch.arange(int(lengths.max()), device=states.device).expand(len(lengths), -1)
        within = (back < lengths[:, None]).to(states.dtype)[:, :, None]
        own = states[(self.last_token[:, None] - back).clamp(min=0)]  # a response's tokens lie side by side
        return prompts, (own * within).sum(1) / within.sum(1)


def lay_out(rows: Sequence[TokenRow], *, pad_id: int, device: torch.device | str = "cpu") -> RowBatch:
    """Lay rows out as one batch. Responses keep their order: row 0's, then row 1's, ..."""
    length = max(row.num_tokens for row in rows)
    input_ids = torch.full((len(rows), length), pad_id)
    positions = torch.zeros(len(rows), length, dtype=torch.long)
    segments = torch.full((len(rows), length), PADDING_SEGMENT)
    num_responses = sum(len(row.responses) for row in rows)
    longest = max((len(response) for row in rows for response in row.responses), default=0)
    targets = torch.full((num_responses, longest), pad_id)
    mask = torch.zeros(num_responses, longest, dtype=torch.bool)
    predicted_from = torch.zeros(num_responses, longest, dtype=torch.long)
    last_token = torch.zeros(num_responses, dtype=torch.long)

    r = 0
    for b, row in enumerate(rows):
        p = len(row.prompt_ids)
        input_ids[b, :p] = torch.tensor(row.prompt_ids)
        positions[b, :p] = torch.arange(p)
        segments[b, :p] = PROMPT_SEGMENT
        last_prompt_token = b * length + p - 1
        start = p
        for segment, response in enumerate(row.responses, start=1):
            n = len(response)
            tokens = torch.tensor(response, dtype=torch.long)
            input_ids[b, start : start + n] = tokens
            positions[b, start : start + n] = torch.arange(p, p + n)
            segments[b, start : start + n] = segment
            targets[r, :n] = tokens
            mask[r, :n] = True
            first = b * length + start
            predicted_from[r, :n] = torch.arange(first - 1, first + n - 1)
            if n:
                predicted_from[r, 0] = last_prompt_token
            last_token[r] = first + n - 1 if n else last_prompt_token
            start += n
            r += 1
    tensors = (input_ids, positions, segments, targets, mask, predicted_from, last_token)
    return RowBatch(*(tensor.to(device) for tensor in tensors))


def micro_batches(rows: Sequence[TokenRow], *, max_tokens: int) -> Iterator[list[int]]:
    """Cut rows into micro-batches of at most `max_tokens` padded tokens, as lists of row indices.

    Rows are sorted by length first, so little is padded; a row longer than the budget goes alone.
    """
    order = sorted(range(len(rows)), key=lambda index: rows[index].num_tokens)
    chunk: list[int] = []
    for index in order:
        if chunk and rows[index].num_tokens * (len(chunk) + 1) > max_tokens:
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


def row_batches(
    rows: Sequence[TokenRow], *, max_tokens: int, pad_id: int, device: torch.device | str
) -> Iterator[tuple[list[int], RowBatch]]:
    """Micro-batches of rows: which rows, and how they lie."""
    for indices in micro_batches(rows, max_tokens=max_tokens):
        yield indices, lay_out([rows[index] for index in indices], pad_id=pad_id, device=device)


def response_slices(rows: Sequence[TokenRow]) -> list[slice]:
    """Where each row's responses lie among the R responses of the whole batch."""
    slices, start = [], 0
    for row in rows:
        slices.append(slice(start, start + len(row.responses)))
        start += len(row.responses)
    return slices
