"""Masked statistics: by hand, against loops, and what whitening promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from tests.reference import statistics

from trimtab.algorithms.masked import masked_mean, masked_sum, masked_variance, whiten

from .cases import RAGGED, assert_equal, many, mask_of, random_tensors

NAN = math.nan
MASK = torch.tensor([[True, True, False], [True, False, False]])
X = torch.tensor([[1.0, 2.0, NAN], [3.0, NAN, NAN]], dtype=torch.float64)


def test_by_hand() -> None:
    """Real tokens 1, 2, 3: sum 6, mean 2, biased variance (1 + 0 + 1) / 3 = 2/3. By row: sums 3, 3; means 1.5, 3."""
    assert_equal(masked_sum(X, MASK), 6.0)
    assert_equal(masked_mean(X, MASK), 2.0)
    assert_equal(masked_variance(X, MASK), 2 / 3)
    assert_equal(masked_sum(X, MASK, dim=1), [3.0, 3.0])
    assert_equal(masked_mean(X, MASK, dim=1), [1.5, 3.0])


def test_whitening_by_hand() -> None:
    """(x - 2) / sqrt(2/3) = -sqrt(3/2), 0, sqrt(3/2); with the mean put back, 2 more."""
    step = math.sqrt(3 / 2)
    assert_equal(whiten(X, MASK), [[-step, 0.0, 0.0], [step, 0.0, 0.0]])
    assert_equal(whiten(X, MASK, shift_mean=False), [[2 - step, 2.0, 0.0], [2 + step, 0.0, 0.0]])


def check_sum(sum_of: Callable[..., torch.Tensor], lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    (x,) = random_tensors(mask, 1, seed)
    assert_equal(sum_of(x, mask), sum(x[mask].tolist()))


def check_whitening(function: Callable[..., torch.Tensor], lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    (x,) = random_tensors(mask, 1, seed)
    x = 3 * x + 5
    for shift_mean in (True, False):
        result = function(x, mask, shift_mean=shift_mean)
        assert_equal(result[mask], statistics.whiten(x[mask].tolist(), shift_mean))
        assert_equal(result[~mask], [0.0] * int((~mask).sum()))


def check_whitened_moments(function: Callable[..., torch.Tensor]) -> None:
    """Mean 0 and variance 1; with `shift_mean=False` the mean is what it was."""
    mask = mask_of(RAGGED)
    (x,) = random_tensors(mask, 1, 0)
    x = 3 * x + 5
    shifted, kept = function(x, mask)[mask].tolist(), function(x, mask, shift_mean=False)[mask].tolist()
    assert_equal([statistics.mean(shifted), statistics.variance(shifted)], [0.0, 1.0])
    assert_equal([statistics.mean(kept), statistics.variance(kept)], [statistics.mean(x[mask].tolist()), 1.0])


@many
def test_against_loops(lengths: list[int], seed: int) -> None:
    mask = mask_of(lengths)
    (x,) = random_tensors(mask, 1, seed)
    check_sum(masked_sum, lengths, seed)
    check_whitening(whiten, lengths, seed)
    assert_equal(masked_mean(x, mask), statistics.mean(x[mask].tolist()))
    assert_equal(masked_variance(x, mask), statistics.variance(x[mask].tolist()))


def test_whitened_moments() -> None:
    check_whitened_moments(whiten)


@pytest.mark.parametrize("function", [masked_sum, masked_mean, masked_variance, whiten])
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 0)])
def test_an_empty_mask_gives_zero_and_no_gradient(
    function: Callable[..., torch.Tensor], shape: tuple[int, int]
) -> None:
    x = torch.full(shape, NAN, requires_grad=True)
    result = function(x, torch.zeros(shape, dtype=torch.bool))
    assert not result.any()
    result.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_a_constant_whitens_to_zero_or_itself() -> None:
    x = torch.full((2, 3), 7.0)
    assert_equal(whiten(x, MASK), [[0.0] * 3] * 2)
    assert_equal(whiten(x, MASK, shift_mean=False), (7.0 * MASK).tolist())


def test_whitening_has_the_gradient_of_finite_differences() -> None:
    (x,) = random_tensors(MASK, 1, 0, padding=0.0)
    assert torch.autograd.gradcheck(lambda x: whiten(x, MASK), x.requires_grad_())


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x \[2, 3\], mask \[3\]"):
        masked_sum(X, MASK[0])
