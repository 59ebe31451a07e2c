"""Responses as vectors: what a frozen model has in mind when it has read a response."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from trimtab.models.rows import RowBatch, TokenRow, response_slices, row_batches
from trimtab.models.trunk import Trunk

Heard = Callable[[int, int], None]


def response_features(
    trunk: Trunk,
    rows: Sequence[TokenRow],
    *,
    pad_id: int,
    max_tokens: int,
    adapter: str | None = None,
    on_progress: Heard = lambda done, total: None,
) -> list[Tensor]:
    """The final hidden state at each response's last token, where a reward model's head reads it.

    One tensor `[responses, D]` a row, float32 and without gradients, in the order of the rows. `max_tokens` is the most
    padded tokens at once.
    """
    features: list[Tensor] = [torch.empty(0)] * len(rows)
    for indices, batch, states in _read(trunk, rows, pad_id, max_tokens, adapter, on_progress):
        last = states[batch.last_token].float().cpu()
        for index, piece in zip(indices, response_slices([rows[i] for i in indices]), strict=True):
            features[index] = last[piece]
    return features


def mean_features(
    trunk: Trunk,
    rows: Sequence[TokenRow],
    *,
    pad_id: int,
    max_tokens: int,
    on_progress: Heard = lambda done, total: None,
) -> list[tuple[Tensor, Tensor]]:
    """The mean final states of each row's prompt `[D]` and of its responses `[responses, D]`, by the base weights."""
    features: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * len(rows)
    for indices, batch, states in _read(trunk, rows, pad_id, max_tokens, None, on_progress):
        prompts, responses = (part.cpu() for part in batch.means(states.float()))
        slices = response_slices([rows[i] for i in indices])
        for index, prompt, piece in zip(indices, prompts, slices, strict=True):
            features[index] = prompt, responses[piece]
    return features


def _read(
    trunk: Trunk, rows: Sequence[TokenRow], pad_id: int, max_tokens: int, adapter: str | None, on_progress: Heard
) -> Iterator[tuple[list[int], RowBatch, Tensor]]:
    """Micro-batches of the rows: which rows, how they lie, and the final states of all their tokens `[B * L, D]`."""
    done = 0
    with torch.no_grad(), trunk.using(adapter):
        for indices, batch in row_batches(rows, max_tokens=max_tokens, pad_id=pad_id, device=trunk.device):
            yield indices, batch, trunk.hidden(batch)
            done += len(indices)
            on_progress(done, len(rows))
