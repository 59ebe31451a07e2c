"""Which items a step sees: shuffled passes over the data, as a function of the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import overload

import torch
from torch import Tensor

from trimtab.seeds import mix


def permutation(count: int, *seed: int) -> list[int]:
    """A shuffle of 0..count-1 that depends on the seeds only."""
    return _shuffle(count, *seed).tolist()


@lru_cache(maxsize=2)  # a pass is asked for at each of its steps, and a batch may lie in two
def shuffled_pass(count: int, *seed: int) -> Tensor:
    """The same `permutation` as a tensor `[count]`, kept until others are asked for. It must not be changed."""
    return _shuffle(count, *seed)


def _shuffle(count: int, *seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(*seed)))


@dataclass(frozen=True, slots=True)
class Batches(Sequence[list[int]]):
    """Index batches of passes over `num_items` items, each pass shuffled anew. A batch is made when it is asked for."""

    num_items: int
    batch_size: int
    seed: int
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...

    @overload
    def __getitem__(self, index: slice) -> Batches: ...

    def __getitem__(self, index: int | slice) -> list[int] | Batches:
        if isinstance(index, slice):
            return replace(self, steps=self.steps[index])
        epoch, place = divmod(self.steps[index], -(-self.num_items // self.batch_size))
        start = place * self.batch_size
        return shuffled_pass(self.num_items, self.seed, epoch)[start : start + self.batch_size].tolist()


def epoch_batches(count: int, batch_size: int, num_epochs: int, *, seed: int) -> Batches:
    """Index batches of `num_epochs` passes, each shuffled anew. The last batch of a pass may be smaller."""
    return Batches(count, batch_size, seed, range(num_epochs * -(-count // batch_size)))


def endless_batch(count: int, batch_size: int, step: int, *, seed: int) -> list[int]:
    """The batch of step `step` (from 0) when passes over the data follow one another without end."""
    batch: list[int] = []
    epoch, place = divmod(step * batch_size, count)
    while len(batch) < batch_size:
        batch += shuffled_pass(count, seed, epoch)[place : place + batch_size - len(batch)].tolist()
        epoch, place = epoch + 1, 0
    return batch
