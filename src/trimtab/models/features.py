"""Responses as vectors: what a frozen model has in mind when it has read a response."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trimtab.models.rows import TokenRow, lay_out, micro_batches, response_slices
from trimtab.models.trunk import Trunk


def response_features(
    trunk: Trunk,
    rows: Sequence[TokenRow],
    *,
    pad_id: int,
    max_tokens: int,
    adapter: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor]:
    """The final hidden state at each response's last token, where a reward model's head reads it.

    One tensor `[responses, D]` a row, float32 and without gradients, in the order of the rows. `max_tokens` is the most
    padded tokens at once.
    """
    features: list[Tensor] = [torch.empty(0)] * len(rows)
    done = 0
    with torch.no_grad(), trunk.using(adapter):
        for indices in micro_batches(rows, max_tokens=max_tokens):
            chunk = [rows[index] for index in indices]
            batch = lay_out(chunk, pad_id=pad_id, device=trunk.device)
            states = trunk.hidden(batch)[batch.last_token].float().cpu()
            for index, piece in zip(indices, response_slices(chunk), strict=True):
                features[index] = states[piece]
            done += len(chunk)
            on_progress(done, len(rows))
    return features
