"""Batches are a function of the seed, cover the data, and differ between passes."""

from __future__ import annotations

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
    assert batches == epoch_batches(count, batch_size, num_epochs, seed=seed)


@given(st.integers(1, 20), st.integers(1, 50), st.integers())
def test_endless_batches_are_the_passes_one_after_another(count: int, batch_size: int, seed: int) -> None:
    steps = 4
    flat = [index for step in range(steps) for index in endless_batch(count, batch_size, step, seed=seed)]
    assert len(flat) == steps * batch_size
    for start in range(0, len(flat) - count + 1, count):
        assert sorted(flat[start : start + count]) == list(range(count))


def test_passes_are_shuffled_anew() -> None:
    first, second = epoch_batches(50, 50, 2, seed=0)
    assert first != second


def test_seeds_mix_without_meeting() -> None:
    mixed = {mix(a, b, c) for a in range(20) for b in range(20) for c in range(5)}
    assert len(mixed) == 20 * 20 * 5
    assert mix(1, 2) != mix(2, 1)
