"""Grades: by hand, against the definition, and what an ordinal model must not depend on."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.ordinal import cumulative_logit
from torch import Tensor

from trimtab.algorithms.ordinal import cumulative_logit_loss
from trimtab.algorithms.output import LossOutput, merge, reduce
from trimtab.algorithms.preference import bradley_terry_loss

from .cases import assert_equal, few_examples, loss_and_gradients, random_vector, seeds

Loss = Callable[..., LossOutput]


def doubles(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def random_grades(count: int, num_levels: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores, levels, rising thresholds and weights."""
    numbers = random_vector(2 * count + num_levels - 1, seed)
    scores, weights, thresholds = numbers.split([count, count, num_levels - 1])
    levels = torch.randint(num_levels, (count,), generator=torch.Generator().manual_seed(seed))
    return 2 * scores, levels, thresholds.sort().values, weights.exp()


def test_grades_by_hand() -> None:
    """Thresholds -log 3 and log 3, score 0: at most the lowest 1/4, at most the middle one 3/4. So 1/4, 1/2, 1/4.

    Score log 3: at most the lowest 1/10, at most the middle one 1/2. The highest has 1/2.
    """
    thresholds = doubles(-math.log(3), math.log(3))
    for level, share in enumerate([1 / 4, 1 / 2, 1 / 4]):
        loss = cumulative_logit_loss(doubles(0), torch.tensor([level]), thresholds, normalizer=1).loss
        assert_equal(loss, -math.log(share))
    found = cumulative_logit_loss(doubles(0, math.log(3)), torch.tensor([0, 2]), thresholds, normalizer=4)
    assert_equal(found.loss, (math.log(4) + math.log(2)) / 4)


def test_metrics_by_hand() -> None:
    """Score 0 lies in level 1 of 0 to 2, score 5 in level 2: off by 1, 0 and 2; the last weighs two."""
    thresholds = doubles(-1, 1)
    found = cumulative_logit_loss(
        doubles(0, 0, 5), torch.tensor([0, 1, 0]), thresholds, weights=doubles(1, 1, 2), normalizer=4
    )
    metrics = reduce(found.metrics)
    assert metrics["reward_model/grade_error"] == pytest.approx((1 + 0 + 2 * 2) / 4)
    assert metrics["reward_model/loss"] == pytest.approx(found.loss.item())


def check_grades(loss_of: Loss, count: int = 20, num_levels: int = 4, seed: int = 0) -> None:
    scores, levels, thresholds, weights = random_grades(count, num_levels, seed)
    output = loss_of(scores, levels, thresholds, weights=weights, normalizer=3)
    total = 0.0
    for score, level, weight in zip(scores.tolist(), levels.tolist(), weights.tolist(), strict=True):
        total += weight * cumulative_logit(score, level, thresholds.tolist())
    assert_equal(output.loss, total / 3)


@few_examples
@given(st.integers(0, 6), st.integers(2, 6), seeds)
def test_grades_against_the_definition(count: int, num_levels: int, seed: int) -> None:
    check_grades(cumulative_logit_loss, count, num_levels, seed)


@few_examples
@given(st.floats(-20, 20), st.integers(2, 6), seeds)
def test_the_probabilities_of_all_grades_sum_to_one(score: float, num_levels: int, seed: int) -> None:
    thresholds = random_grades(0, num_levels, seed)[2]
    losses = [
        cumulative_logit_loss(doubles(score), torch.tensor([level]), thresholds, normalizer=1).loss.item()
        for level in range(num_levels)
    ]
    assert_equal(sum(math.exp(-loss) for loss in losses), 1.0)


def test_two_grades_are_a_comparison_with_the_threshold() -> None:
    threshold = doubles(0.7)
    for level, pair in ((1, (-1.2, 0.7)), (0, (0.7, -1.2))):
        grade = cumulative_logit_loss(doubles(-1.2), torch.tensor([level]), threshold, normalizer=1)
        assert_equal(grade.loss, bradley_terry_loss(*map(doubles, pair), normalizer=1).loss)


def test_the_scale_may_be_shifted_or_turned() -> None:
    """Moving scores and thresholds alike changes nothing; nor does turning scores, thresholds and grades round."""
    scores, levels, thresholds, weights = random_grades(20, 4, 0)
    loss = cumulative_logit_loss(scores, levels, thresholds, weights=weights, normalizer=5).loss
    for others in ((scores + 3, levels, thresholds + 3), (-scores, 3 - levels, -thresholds.flip(0))):
        assert_equal(cumulative_logit_loss(*others, weights=weights, normalizer=5).loss, loss)


@pytest.mark.parametrize("cut", [0, 1, 7, 20])
def test_grades_may_be_cut_anywhere(cut: int) -> None:
    scores, levels, thresholds, weights = random_grades(20, 4, 0)

    def part(at: slice) -> tuple[LossOutput, list[Tensor]]:
        return loss_and_gradients(
            lambda s, t: cumulative_logit_loss(s, levels[at], t, weights=weights[at], normalizer=5),
            scores[at],
            thresholds,
        )

    (whole, (gradient, of_thresholds)), *parts = (part(at) for at in (slice(0, 20), slice(0, cut), slice(cut, 20)))
    assert_equal(sum(output.loss for output, _ in parts), whole.loss)
    assert_equal(torch.cat([found for _, (found, _) in parts]), gradient)
    assert_equal(sum(found for _, (_, found) in parts), of_thresholds)
    assert reduce(merge(*(output.metrics for output, _ in parts))) == pytest.approx(reduce(whole.metrics))


def test_gradients_are_those_of_finite_differences() -> None:
    scores, levels, thresholds, weights = random_grades(8, 4, 1)

    def loss(s: Tensor, t: Tensor) -> Tensor:
        return cumulative_logit_loss(s, levels, t, weights=weights, normalizer=3).loss

    assert torch.autograd.gradcheck(loss, (scores.requires_grad_(), thresholds.requires_grad_()))


def test_extreme_scores_stay_finite() -> None:
    """Far above thresholds -1 and 1, the middle grade has -log(1 - e^-2) less than 1 - score, and pulls with 1."""
    output, (gradient, _) = loss_and_gradients(
        lambda s, t: cumulative_logit_loss(s, torch.tensor([1]), t, normalizer=1), doubles(1000), doubles(-1, 1)
    )
    assert_equal(output.loss, 999.0 - math.log(1 - math.exp(-2)))
    assert_equal(gradient, [1.0])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        cumulative_logit_loss(doubles(1, 2), torch.tensor([0]), doubles(0), normalizer=1)
