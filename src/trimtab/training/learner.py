"""A model that learns: its parameters, their optimiser, the steps in which it learns, and one update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trimtab.algorithms.output import Metrics
from trimtab.models.rows import TokenRow
from trimtab.training.step import (
    MicroBatchLoss,
    OptimizerSettings,
    accumulate,
    learning_rate,
    make_optimizer,
    update,
)


@dataclass(frozen=True, slots=True)
class Learner:
    """One of the models that learn. Each has parameters of its own, so one graph at a time is in memory."""

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    settings: OptimizerSettings
    steps: range

    @classmethod
    def of(cls, parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings, steps: range) -> Learner:
        """A learner with a fresh optimiser."""
        return cls(parameters, make_optimizer(parameters.values(), settings), settings, steps)

    @property
    def device(self) -> torch.device:
        """Where it learns."""
        return next(iter(self.parameters.values())).device

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up and decay span the steps in which this model learns; 0 before them."""
        return learning_rate(step - self.steps.start, len(self.steps), self.settings) if step in self.steps else 0.0

    def learn(
        self, rows: Sequence[TokenRow], loss_of: MicroBatchLoss, *, step: int, where: str, dump: Path
    ) -> tuple[Metrics, float]:
        """One update from these rows; returns its metrics and its gradient norm. Raises `NumericsError`."""
        settings = self.settings
        metrics = accumulate(rows, loss_of, max_tokens=settings.micro_batch_tokens, where=where, dump=dump)
        norm = update(
            self.optimizer,
            self.parameters,
            rate=self.rate(step),
            max_grad_norm=settings.max_grad_norm,
            where=where,
        )
        return metrics, norm
