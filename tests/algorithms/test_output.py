"""Shares of a loss and metrics add up over any split."""

from __future__ import annotations

import math

import pytest
import torch

from trimtab.algorithms.output import merge, over_tokens, reduce, share


def test_metrics_add_up_and_reduce() -> None:
    """a: (1 + 5) / (2 + 2) = 1.5, where averaging the parts' means would give (0.5 + 2.5) / 2; b: 3 / 1."""
    merged = merge({"a": (1.0, 2.0)}, {"a": (torch.tensor(5.0), torch.tensor(2)), "b": (3.0, 1)})
    assert reduce(merged) == {"a": 1.5, "b": 3.0}
    assert merge() == {}


def test_means_of_unequal_parts_are_weighted_by_their_counts() -> None:
    """Three tokens of mean 1 and one of 5: (3 * 1 + 5) / 4 = 2, not (1 + 5) / 2 = 3."""
    assert reduce(merge({"a": (3.0, 3)}, {"a": (5.0, 1)})) == {"a": 2.0}


def test_nothing_counted_is_zero() -> None:
    assert reduce({"a": (torch.tensor(0.0), torch.tensor(0)), "b": (0.0, 0)}) == {"a": 0.0, "b": 0.0}


def test_a_metric_carries_no_gradient() -> None:
    total, count = over_tokens(torch.ones(1, 2, requires_grad=True), torch.tensor([[True, False]]))
    assert (total.item(), count.item(), total.requires_grad) == (1.0, 1, False)


def test_the_share_of_an_empty_batch_is_zero() -> None:
    total = torch.zeros((), requires_grad=True)
    share(total, 0).backward()
    assert share(total, 0).item() == 0.0
    assert total.grad is not None
    assert torch.isfinite(total.grad)


@pytest.mark.parametrize("normalizer", [-1, math.nan])
def test_a_normalizer_that_is_no_count_is_refused(normalizer: float) -> None:
    with pytest.raises(ValueError, match="normalizer is"):
        share(torch.ones(()), normalizer)
