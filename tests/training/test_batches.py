"""Batches are a function of the seed, cover the data, and differ between passes."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.seeds import mix
from trimtab.training.batches import endless_batch, epoch_batches


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 3), st.integers())
def test_every_pass_sees_everything_once(count: int, batch_size: int, num_epochs: int, seed: int) -> None:
    batches = epoch_batches(count, batch_size, num_epochs, seed=seed)
    flat = [index for batch in batches for index in batch]
    for epoch in range(num_epochs):
        assert sorted(flat[epoch * count : (epoch + 1) * count]) == list(range(count))
    assert list(batches) == list(epoch_batches(count, batch_size, num_epochs, seed=seed))


@given(st.integers(1, 20), st.integers(1, 50), st.integers())
def test_endless_batches_are_the_passes_one_after_another(count: int, batch_size: int, seed: int) -> None:
    steps = 4
    flat = [index for step in range(steps) for index in endless_batch(count, batch_size, step, seed=seed)]
    assert len(flat) == steps * batch_size
    for start in range(0, len(flat) - count + 1, count):
        assert sorted(flat[start : start + count]) == list(range(count))


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 3), st.integers(), st.integers(-3, 9))
def test_batches_cut_the_shuffles_of_the_passes(count: int, size: int, num_epochs: int, seed: int, stop: int) -> None:
    """In the order in which PyTorch shuffles under the pass's own seed, whichever batch is asked for first."""
    expected = []
    for epoch in range(num_epochs):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, epoch))).tolist()
        expected += [order[start : start + size] for start in range(0, count, size)]
    batches = epoch_batches(count, size, num_epochs, seed=seed)
    assert len(batches) == len(expected)
    assert [batches[n] for n in reversed(range(len(batches)))] == expected[::-1]
    assert list(batches[:stop]) == expected[:stop]
    assert len(batches[:stop]) == len(expected[:stop])
    assert batches[:None] == batches
    with pytest.raises(IndexError):
        batches[len(expected)]


def test_a_step_holds_no_list_of_all_steps() -> None:
    """A million items; a list of them is 8 MB. PyTorch's own memory, the shuffle, is not counted."""
    tracemalloc.start()
    steps = epoch_batches(1_000_000, 4, 2, seed=0)[:1_000_000]
    batch = steps[-1] + endless_batch(1_000_000, 4, 3, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(steps) == 500_000
    assert len(batch) == 8
    assert peak < 100_000


def test_passes_are_shuffled_anew() -> None:
    first, second = epoch_batches(50, 50, 2, seed=0)
    assert first != second


def test_seeds_mix_without_meeting() -> None:
    mixed = {mix(a, b, c) for a in range(20) for b in range(20) for c in range(5)}
    assert len(mixed) == 20 * 20 * 5
    assert mix(1, 2) != mix(2, 1)
