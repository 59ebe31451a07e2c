"""Group advantages: by hand, against loops, and how the two kinds relate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import group as reference
from torch import Tensor

from trimtab.algorithms.group import group_relative_advantages, leave_one_out_advantages, zero_variance_fraction

from .cases import assert_equal, few_examples, random_vector, seeds

SIZES = (3, 2, 5)
sizes_of_two_and_more = st.lists(st.integers(2, 5), min_size=1, max_size=4)


def interleaved(sizes: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
    """Scores and group numbers, groups mixed up."""
    groups = torch.tensor([5 * g - 3 for g, size in enumerate(sizes) for _ in range(size)])
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    return random_vector(len(groups), seed), groups[order]


def by_loops(scores: Tensor, groups: Tensor, one_group: Callable[..., list[float]]) -> Tensor:
    expected = torch.full_like(scores, torch.nan)
    for group in set(groups.tolist()):
        expected[groups == group] = torch.tensor(one_group(scores[groups == group].tolist()), dtype=scores.dtype)
    return expected


def test_by_hand() -> None:
    """Scores 1, 2, 3: mean 2, std 1 (dividing by 2). Leaving one out: 1 - 2.5, 2 - 2, 3 - 1.5. A group of one: 0."""
    scores, groups = torch.tensor([1.0, 2.0, 3.0, 9.0]).double(), torch.tensor([4, 4, 4, 1])
    assert_equal(group_relative_advantages(scores, groups), [-1 / 1.0001, 0, 1 / 1.0001, 0])
    assert_equal(group_relative_advantages(scores, groups, scale=False), [-1, 0, 1, 0])
    assert_equal(leave_one_out_advantages(scores[:3], groups[:3]), [-1.5, 0, 1.5])
    assert_equal(zero_variance_fraction(scores, groups), 0.5)


def check_group_relative(function: Callable[..., Tensor], sizes: Sequence[int] = SIZES, seed: int = 0) -> None:
    scores, groups = interleaved(sizes, seed)
    for scale in (True, False):
        expected = by_loops(scores, groups, partial(reference.group_relative, scale=scale))
        assert_equal(function(scores, groups, scale=scale), expected)


def check_leave_one_out(function: Callable[..., Tensor], sizes: Sequence[int] = SIZES, seed: int = 0) -> None:
    scores, groups = interleaved(sizes, seed)
    assert_equal(function(scores, groups), by_loops(scores, groups, reference.leave_one_out))


@few_examples
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), seeds)
def test_group_relative_against_loops(sizes: list[int], seed: int) -> None:
    check_group_relative(group_relative_advantages, sizes, seed)


@few_examples
@given(sizes_of_two_and_more, seeds)
def test_leave_one_out_against_loops(sizes: list[int], seed: int) -> None:
    check_leave_one_out(leave_one_out_advantages, sizes, seed)


@few_examples
@given(sizes_of_two_and_more, seeds)
def test_leave_one_out_is_the_centred_score_times_k_over_k_minus_one(sizes: list[int], seed: int) -> None:
    scores, groups = interleaved(sizes, seed)
    k = (groups[:, None] == groups).sum(1)
    centred = group_relative_advantages(scores, groups, scale=False)
    assert_equal(leave_one_out_advantages(scores, groups), centred * k / (k - 1))


def test_a_group_of_one_cannot_leave_one_out() -> None:
    with pytest.raises(ValueError, match="at least two responses"):
        leave_one_out_advantages(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 0, 1]))


def test_equal_scores_teach_nothing() -> None:
    scores, groups = torch.tensor([0.1, 0.1, 0.1, 0.7, 0.2]), torch.tensor([0, 0, 0, 1, 1])
    assert_equal(group_relative_advantages(scores, groups)[:3], [0.0] * 3, atol=1e-3)
    assert_equal(zero_variance_fraction(scores, groups), 0.5)
    assert zero_variance_fraction(torch.zeros(0), torch.zeros(0, dtype=torch.long)) == 0


def test_advantages_carry_no_gradient() -> None:
    scores, groups = interleaved(SIZES, 0)
    scores.requires_grad_()
    assert not group_relative_advantages(scores, groups).requires_grad
    assert not leave_one_out_advantages(scores, groups).requires_grad
