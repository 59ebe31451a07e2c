"""Parts of a rollout: the minibatches of an update, and what of its response tensors belongs to a micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trimtab.algorithms.output import LossOutput
from trimtab.models.rows import RowBatch, TokenRow, lay_out, response_slices
from trimtab.training.batches import permutation
from trimtab.training.step import MicroBatchLoss

Cut = Callable[[Tensor], Tensor]
"""A response tensor of the whole rollout, `[R, T]`, to the part of it that belongs to a micro-batch, `[r, t]`."""

PartLoss = Callable[[RowBatch, Cut], LossOutput]
"""A micro-batch -> its share of the minibatch's loss (already divided by the minibatch's normaliser)."""


def minibatches(rows: Sequence[TokenRow], minibatch_size: int | None, seed: int) -> list[list[int]]:
    """Rows of a rollout in shuffled minibatches of about `minibatch_size` responses; a group stays together."""
    count, group = len(rows), len(rows[0].responses)
    order = permutation(count, seed)
    size = count if minibatch_size is None else max(minibatch_size // group, 1)
    return [order[start : start + size] for start in range(0, count, size)]


def num_tokens(rows: Sequence[TokenRow], chosen: Sequence[int]) -> int:
    """Response tokens of the chosen rows."""
    return sum(len(response) for i in chosen for response in rows[i].responses)


def over_minibatch(
    loss: PartLoss, rows: Sequence[TokenRow], chosen: Sequence[int], *, pad_id: int, device: torch.device
) -> MicroBatchLoss:
    """The loss of micro-batches of the chosen rows, each with its part of the rollout's tensors."""
    slices = response_slices(rows)

    def loss_of(indices: list[int]) -> LossOutput:
        picked = [chosen[i] for i in indices]
        batch = lay_out([rows[i] for i in picked], pad_id=pad_id, device=device)
        places = torch.cat([torch.arange(slices[i].start, slices[i].stop) for i in picked])
        width = batch.mask.shape[1]
        return loss(batch, lambda tensor: tensor[places, :width])

    return loss_of
