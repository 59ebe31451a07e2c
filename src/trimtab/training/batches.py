"""Which items a step sees: shuffled passes over the data, as a function of the seed alone."""

from __future__ import annotations

import torch

from trimtab.seeds import mix


def permutation(count: int, *seed: int) -> list[int]:
    """A shuffle of 0..count-1 that depends on the seeds only."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(*seed))).tolist()


def epoch_batches(count: int, batch_size: int, num_epochs: int, *, seed: int) -> list[list[int]]:
    """Index batches of `num_epochs` passes, each shuffled anew. The last batch of a pass may be smaller."""
    batches = []
    for epoch in range(num_epochs):
        order = permutation(count, seed, epoch)
        batches += [order[start : start + batch_size] for start in range(0, count, batch_size)]
    return batches


def endless_batch(count: int, batch_size: int, step: int, *, seed: int) -> list[int]:
    """The batch of step `step` (from 0) when passes over the data follow one another without end."""
    batch: list[int] = []
    epoch, place = divmod(step * batch_size, count)
    while len(batch) < batch_size:
        batch += permutation(count, seed, epoch)[place : place + batch_size - len(batch)]
        epoch, place = epoch + 1, 0
    return batch
