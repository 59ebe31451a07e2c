"""The loop of every method that learns from data at rest: passes over it, a batch a step, exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from trimtab.algorithms.output import reduce
from trimtab.models.rows import TokenRow
from trimtab.seeds import mix
from trimtab.training.batches import epoch_batches
from trimtab.training.learner import Learner
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import MicroBatchLoss, OptimizerSettings

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Passes:
    """How often the data is gone through, and how much of it a step takes. `max_steps` ends it early."""

    num_epochs: int
    batch_size: int
    max_steps: int | None = None


def train_in_passes(
    name: str,
    parameters: Mapping[str, nn.Parameter],
    items: Sequence[Item],
    loss_of_batch: Callable[[list[Item]], MicroBatchLoss],
    *,
    row_of: Callable[[Item], TokenRow],
    passes: Passes,
    settings: OptimizerSettings,
    show: Mapping[str, str],
    seed: int,
    checkpoint_seconds: float,
    run: Run,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Train these parameters in place.

    `loss_of_batch` takes a batch and gives the loss of micro-batches of it, each divided by the normaliser of the whole
    batch, so that cutting a batch differently changes nothing. `row_of` gives an item's tokens. `show` says which
    metrics the progress has, under which names. `before` is called once, before the first step.
    Raises `NumericsError` and `Interrupted`.
    """
    batches = epoch_batches(len(items), passes.batch_size, passes.num_epochs, seed=seed)[: passes.max_steps]
    learner = Learner.of(parameters, settings, range(len(batches)))
    checkpoint = Checkpoint(run, parameters, [learner.optimizer], every_seconds=checkpoint_seconds)

    start, _ = checkpoint.restore()
    if start == 0:
        before()
    for step in range(start, len(batches)):
        began = time.perf_counter()
        torch.manual_seed(mix(seed, step))
        batch = [items[index] for index in batches[step]]
        metrics, norm = learner.learn(
            [row_of(item) for item in batch],
            loss_of_batch(batch),
            step=step,
            where=f"{name} step {step + 1}",
            dump=run.state / "bad_batch.json",
        )
        numbers = reduce(metrics) | {"optim/grad_norm": norm, "optim/learning_rate": learner.rate(step)}
        run.log({"step": step + 1, **numbers, "time/step": time.perf_counter() - began})
        run.progress(name, step + 1, len(batches), **{short: numbers[long] for short, long in show.items()})
        checkpoint.step_done(step + 1, len(batches))
