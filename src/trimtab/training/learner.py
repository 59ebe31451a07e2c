"""A model that learns from a rollout: its optimiser, the steps in which it learns, and one update from a minibatch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trimtab.algorithms.output import LossOutput, Metrics
from trimtab.models.rows import RowBatch, TokenRow, lay_out, response_slices
from trimtab.training.batches import permutation
from trimtab.training.step import OptimizerSettings, accumulate, learning_rate, make_optimizer, update

Cut = Callable[[Tensor], Tensor]
"""A response tensor of the whole rollout, `[R, T]`, to the part of it that belongs to a micro-batch, `[r, t]`."""

PartLoss = Callable[[RowBatch, Cut], LossOutput]
"""A micro-batch -> its share of the minibatch's loss (already divided by the minibatch's normaliser)."""


@dataclass(frozen=True, slots=True)
class Learner:
    """One of the models that learn. Each has parameters of its own, so one graph at a time is in memory."""

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    settings: OptimizerSettings
    steps: range

    @classmethod
    def of(cls, parameters: dict[str, nn.Parameter], settings: OptimizerSettings, steps: range) -> Learner:
        """A learner with a fresh optimiser."""
        return cls(parameters, make_optimizer(parameters.values(), settings), settings, steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up and decay span the steps in which this model learns; 0 before them."""
        return learning_rate(step - self.steps.start, len(self.steps), self.settings) if step in self.steps else 0.0

    def learn(
        self,
        loss: PartLoss,
        rows: Sequence[TokenRow],
        chosen: Sequence[int],
        *,
        step: int,
        pad_id: int,
        where: str,
        dump: Path,
    ) -> tuple[Metrics, float]:
        """One update from the chosen rows of a rollout; returns its metrics and its gradient norm."""
        slices = response_slices(rows)
        device = next(iter(self.parameters.values())).device

        def loss_of(indices: list[int]) -> LossOutput:
            picked = [chosen[i] for i in indices]
            batch = lay_out([rows[i] for i in picked], pad_id=pad_id, device=device)
            places = torch.cat([torch.arange(slices[i].start, slices[i].stop) for i in picked])
            width = batch.mask.shape[1]
            return loss(batch, lambda tensor: tensor[places, :width])

        metrics = accumulate(
            [rows[i] for i in chosen],
            loss_of,
            max_tokens=self.settings.micro_batch_tokens,
            where=where,
            dump=dump,
        )
        norm = update(
            self.optimizer,
            self.parameters,
            rate=self.rate(step),
            max_grad_norm=self.settings.max_grad_norm,
            where=where,
        )
        return metrics, norm


def minibatches(rows: Sequence[TokenRow], minibatch_size: int | None, seed: int) -> list[list[int]]:
    """Rows of a rollout in shuffled minibatches of about `minibatch_size` responses; a group stays together."""
    count, group = len(rows), len(rows[0].responses)
    order = permutation(count, seed)
    size = count if minibatch_size is None else max(minibatch_size // group, 1)
    return [order[start : start + size] for start in range(0, count, size)]


def num_tokens(rows: Sequence[TokenRow], chosen: Sequence[int]) -> int:
    """Response tokens of the chosen rows."""
    return sum(len(response) for i in chosen for response in rows[i].responses)
