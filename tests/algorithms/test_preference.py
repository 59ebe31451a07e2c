"""Comparisons and rankings: by hand, against loops, and the symmetries a preference has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import preference as reference
from torch import Tensor

from trimtab.algorithms.output import LossOutput, merge, reduce
from trimtab.algorithms.preference import bradley_terry_loss, plackett_luce_loss

from .cases import assert_equal, few_examples, loss_and_gradients, random_vector, seeds

LOG3 = math.log(3)
Loss = Callable[..., LossOutput]
ranking_lists = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=4)
RANKINGS = ([0, 1, 2], [1, 0], [0], [2, 0, 0, 1])
"""Four prompts: an order, its other way round, nothing to compare, and a tie."""


def doubles(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, math.log(4 / 3)),  # -log sigmoid(log 3) = -log(3/4)
        ({"probability": doubles(0.75)}, 0.75 * math.log(4 / 3) + 0.25 * math.log(4)),
        ({"margin": doubles(LOG3)}, math.log(2)),  # nothing left of the difference: -log(1/2)
        ({"centering": 0.01}, math.log(4 / 3) + 0.01 * LOG3**2),  # chosen + rejected = log 3
        ({"weights": doubles(0.5)}, 0.5 * math.log(4 / 3)),
    ],
)
def test_bradley_terry_by_hand(options: dict, expected: float) -> None:
    """Scores log 3 and 0: the chosen one wins with probability 3/4."""
    assert_equal(bradley_terry_loss(doubles(LOG3), doubles(0), normalizer=1, **options).loss, expected)


def test_metrics_by_hand() -> None:
    """Four comparisons: right by 2; tied; label 1/4, so rejected is favoured, by 3; label 1/2, which counts nowhere.

    Accuracy (1 + 1/2 + 1) / 3; margin (2 + 0 + 3) / 3.
    """
    output = bradley_terry_loss(
        doubles(2, 1, 0, 5), doubles(0, 1, 3, 0), probability=doubles(1, 1, 0.25, 0.5), normalizer=4
    )
    metrics = reduce(output.metrics)
    assert metrics["reward_model/accuracy"] == pytest.approx(2.5 / 3)
    assert metrics["reward_model/margin"] == pytest.approx(5 / 3)
    assert metrics["reward_model/loss"] == pytest.approx(output.loss.item())


def test_rankings_by_hand() -> None:
    """Scores log 4, log 2, 0 in the right order: 4/7 * 2/3 * 1 = 8/21. With the last two tied: 4/7."""
    scores, groups = doubles(math.log(4), math.log(2), 0), torch.zeros(3, dtype=torch.long)
    order, tie = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])
    ordered = plackett_luce_loss(scores, order, groups, normalizer=1)
    assert_equal(ordered.loss, -math.log(8 / 21))
    assert_equal(plackett_luce_loss(scores, tie, groups, normalizer=1).loss, -math.log(4 / 7))
    assert reduce(ordered.metrics)["reward_model/accuracy"] == 1.0
    assert reduce(ordered.metrics)["reward_model/margin"] == pytest.approx(
        math.log(16) / 3
    )  # (log 2 + log 4 + log 2) / 3


def test_a_tie_is_both_orders() -> None:
    """Scores log 4, log 2, 0, the first two tied above the third: 4/7 * 2/3 + 2/7 * 4/5 = 64/105.

    Both are above the third; of themselves nothing is said.
    """
    scores, groups = doubles(math.log(4), math.log(2), 0), torch.zeros(3, dtype=torch.long)
    found = plackett_luce_loss(scores, torch.tensor([3, 3, 8]), groups, normalizer=1)
    assert_equal(found.loss, -math.log(64 / 105))
    assert reduce(found.metrics) == pytest.approx(
        {
            "reward_model/loss": -math.log(64 / 105),
            "reward_model/accuracy": 1.0,
            "reward_model/margin": math.log(8) / 2,  # (log 4 + log 2) / 2
        }
    )


def test_rankings_weigh_what_they_are_said_to() -> None:
    check_ranking_weights(plackett_luce_loss)


def check_ranking_weights(loss_of: Loss) -> None:
    """Two rankings of one prompt at half the weight, as two annotators give them, and one of another prompt."""
    ranks, groups = torch.tensor([0, 1, 1, 0, 1, 0]), torch.tensor([0, 0, 1, 1, 2, 2])
    scores = doubles(math.log(3), 0, math.log(3), 0, 0, 0)
    weights = doubles(0.5, 0.5, 0.5, 0.5, 1, 1)
    found = loss_of(scores, ranks, groups, weights=weights, normalizer=2)
    expected = (0.5 * math.log(4 / 3) + 0.5 * math.log(4) + math.log(2)) / 2
    assert_equal(found.loss, expected)
    metrics = reduce(found.metrics)
    assert metrics["reward_model/loss"] == pytest.approx(expected)
    assert metrics["reward_model/accuracy"] == pytest.approx(0.5)  # (1/2 * 1 + 1/2 * 0 + 1 * 1/2) / 2


def test_a_large_tie_is_refused_unless_it_is_last() -> None:
    scores = random_vector(13, 0)
    groups, one = torch.zeros(13, dtype=torch.long), torch.tensor([0])
    with pytest.raises(ValueError, match="a tie of 12 responses above others; at most 10"):
        plackett_luce_loss(scores, torch.cat([one.expand(12), one + 1]), groups, normalizer=1)
    found = plackett_luce_loss(scores, torch.cat([one, (one + 1).expand(12)]), groups, normalizer=1)
    assert_equal(found.loss, scores.logsumexp(0) - scores[0])


@few_examples
@given(st.floats(0.01, 0.99), st.floats(-3, 3))
def test_the_best_difference_is_the_margin_and_the_log_odds_of_the_label(probability: float, margin: float) -> None:
    """At d = m + log(p / (1 - p)) the gradient is 0; a tie without a margin pulls the scores together."""
    best = margin + math.log(probability / (1 - probability))

    def slope(difference: float) -> float:
        _, (gradient, other) = loss_and_gradients(
            lambda c, r: bradley_terry_loss(
                c, r, probability=doubles(probability), margin=doubles(margin), normalizer=1
            ),
            doubles(difference),
            doubles(0),
        )
        assert_equal(gradient, -other)
        return float(gradient.item())

    assert slope(best) == pytest.approx(0, abs=1e-9)
    assert slope(best - 1) < 0 < slope(best + 1)


def random_comparisons(count: int, seed: int) -> dict[str, Tensor]:
    names = ("chosen_scores", "rejected_scores", "probability", "margin", "weights")
    numbers = dict(zip(names, random_vector(5 * count, seed).view(5, count), strict=True))
    return numbers | {"probability": numbers["probability"].sigmoid(), "weights": numbers["weights"].exp()}


def check_bradley_terry(loss_of: Loss, count: int = 5, seed: int = 0) -> None:
    numbers = random_comparisons(count, seed)
    output = loss_of(**numbers, centering=0.1, normalizer=3)
    total = 0.0
    for c, r, p, m, w in zip(*(numbers[name].tolist() for name in numbers), strict=True):
        total += w * reference.bradley_terry(c, r, p, m, centering=0.1)
    assert_equal(output.loss, total / 3)


def check_swap(loss_of: Loss, count: int = 5, seed: int = 0) -> None:
    """Exchanging the responses turns p into 1 - p and m into -m, and nothing else: not loss, gradients or metrics."""
    numbers = random_comparisons(count, seed)
    p, m, w = numbers["probability"], numbers["margin"], numbers["weights"]

    def one(chosen: Tensor, rejected: Tensor) -> LossOutput:
        return loss_of(chosen, rejected, probability=p, margin=m, weights=w, centering=0.1, normalizer=7)

    def other(chosen: Tensor, rejected: Tensor) -> LossOutput:
        return loss_of(rejected, chosen, probability=1 - p, margin=-m, weights=w, centering=0.1, normalizer=7)

    scores = numbers["chosen_scores"], numbers["rejected_scores"]
    (output, gradients), (swapped, swapped_gradients) = (
        loss_and_gradients(one, *scores),
        loss_and_gradients(other, *scores),
    )
    assert_equal(output.loss, swapped.loss)
    assert reduce(output.metrics) == pytest.approx(reduce(swapped.metrics))
    for gradient, swapped_gradient in zip(gradients, swapped_gradients, strict=True):
        assert_equal(gradient, swapped_gradient)


def check_ranking(loss_of: Loss, rankings: Sequence[list[int]] = RANKINGS, seed: int = 0) -> None:
    output, parts = ranked(loss_of, rankings, seed)
    assert_equal(output.loss, sum(reference.plackett_luce(scores, ranks) for scores, ranks in parts) / 3)


def check_agreement(loss_of: Loss, rankings: Sequence[list[int]] = RANKINGS, seed: int = 0) -> None:
    """Accuracy and margin are means over the prompts that have something to compare."""
    output, parts = ranked(loss_of, rankings, seed)
    found = [one for one in (reference.agreement(*part) for part in parts) if one is not None]
    metrics = reduce(output.metrics)
    for name, values in zip(("accuracy", "margin"), zip(*found, strict=True), strict=False):
        assert metrics[f"reward_model/{name}"] == pytest.approx(sum(values) / len(found))


def ranked(loss_of: Loss, rankings: Sequence[list[int]], seed: int) -> tuple[LossOutput, list[Any]]:
    """A loss of random scores, and scores and ranks prompt by prompt."""
    ranks, groups = as_tensors(rankings)
    scores = random_vector(len(ranks), seed)
    parts = scores.split([len(ranking) for ranking in rankings])
    return loss_of(scores, ranks, groups, normalizer=3), [
        (part.tolist(), ranking) for part, ranking in zip(parts, rankings, strict=True)
    ]


def as_tensors(rankings: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Ranks and groups; group numbers start anywhere and leave gaps."""
    groups = [7 + 3 * i for i, ranking in enumerate(rankings) for _ in ranking]
    return torch.tensor([rank for ranking in rankings for rank in ranking]), torch.tensor(groups)


@few_examples
@given(st.integers(0, 6), seeds)
def test_bradley_terry_against_loops(count: int, seed: int) -> None:
    check_bradley_terry(bradley_terry_loss, count, seed)
    check_swap(bradley_terry_loss, count, seed)


@few_examples
@given(ranking_lists, seeds)
def test_rankings_against_loops(rankings: list[list[int]], seed: int) -> None:
    check_ranking(plackett_luce_loss, rankings, seed)
    check_agreement(plackett_luce_loss, rankings, seed)


@few_examples
@given(ranking_lists, seeds)
def test_rankings_do_not_depend_on_order(rankings: list[list[int]], seed: int) -> None:
    ranks, groups = as_tensors(rankings)
    scores = random_vector(len(ranks), seed)
    order = torch.randperm(len(ranks), generator=torch.Generator().manual_seed(seed))
    whole, (gradient,) = loss_and_gradients(lambda s: plackett_luce_loss(s, ranks, groups, normalizer=3), scores)
    mixed, (mixed_gradient,) = loss_and_gradients(
        lambda s: plackett_luce_loss(s, ranks[order], groups[order], normalizer=3), scores[order]
    )
    assert_equal(mixed.loss, whole.loss)
    assert_equal(mixed_gradient, gradient[order])
    assert reduce(mixed.metrics) == pytest.approx(reduce(whole.metrics))


def test_rankings_may_be_cut_between_prompts() -> None:
    """Prompts 1 and 2 apart from 3 and 4: shares, gradients and metrics add up to those of the whole."""
    ranks, groups = as_tensors(RANKINGS)
    scores = random_vector(len(ranks), 0)
    whole, (gradient,) = loss_and_gradients(lambda s: plackett_luce_loss(s, ranks, groups, normalizer=4), scores)
    parts = [
        loss_and_gradients(lambda s, at=at: plackett_luce_loss(s, ranks[at], groups[at], normalizer=4), scores[at])
        for at in (slice(0, 5), slice(5, None))
    ]
    assert_equal(sum(output.loss for output, _ in parts), whole.loss)
    assert_equal(torch.cat([part for _, (part,) in parts]), gradient)
    assert reduce(merge(*(output.metrics for output, _ in parts))) == pytest.approx(reduce(whole.metrics))


@pytest.mark.parametrize("cut", range(6))
def test_comparisons_may_be_cut_anywhere(cut: int) -> None:
    numbers = random_comparisons(5, 0)
    whole = bradley_terry_loss(**numbers, centering=0.1, normalizer=5)
    parts = [
        bradley_terry_loss(**{name: x[at] for name, x in numbers.items()}, centering=0.1, normalizer=5)
        for at in (slice(0, cut), slice(cut, None))
    ]
    assert_equal(parts[0].loss + parts[1].loss, whole.loss)
    assert reduce(merge(*(part.metrics for part in parts))) == pytest.approx(reduce(whole.metrics))


def test_two_responses_make_both_losses_one() -> None:
    scores, ranks, groups = doubles(0.3, -1.1), torch.tensor([1, 0]), torch.tensor([4, 4])
    expected = reference.bradley_terry(-1.1, 0.3)
    assert_equal(bradley_terry_loss(scores[1:], scores[:1], normalizer=1).loss, expected)
    assert_equal(plackett_luce_loss(scores, ranks, groups, normalizer=1).loss, expected)


def test_plackett_luce_probabilities_of_all_orders_sum_to_one() -> None:
    scores, groups = doubles(0.5, -0.3, 1.2), torch.zeros(3, dtype=torch.long)
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    losses = [plackett_luce_loss(scores, torch.tensor(order), groups, normalizer=1).loss.item() for order in orders]
    assert_equal(sum(math.exp(-loss) for loss in losses), 1.0)


def test_nothing_to_compare_is_zero_with_a_gradient_of_zero() -> None:
    scores, ranks, groups = doubles(1, 2, 3), torch.tensor([0, 0, 5]), torch.tensor([0, 0, 1])
    output, (gradient,) = loss_and_gradients(lambda s: plackett_luce_loss(s, ranks, groups, normalizer=2), scores)
    assert output.loss.item() == 0.0
    assert not gradient.any()
    output, (gradient, _) = loss_and_gradients(
        lambda c, r: bradley_terry_loss(c, r, normalizer=0), doubles(), doubles()
    )
    assert (output.loss.item(), gradient.shape) == (0.0, (0,))


def test_gradients_are_those_of_finite_differences() -> None:
    numbers = random_comparisons(4, 0)
    c, r = numbers.pop("chosen_scores").requires_grad_(), numbers.pop("rejected_scores").requires_grad_()
    ranks, groups = as_tensors(RANKINGS)
    scores = random_vector(len(ranks), 0).requires_grad_()
    gradcheck = torch.autograd.gradcheck
    assert gradcheck(lambda c, r: bradley_terry_loss(c, r, **numbers, centering=0.1, normalizer=3).loss, (c, r))
    assert gradcheck(lambda s: plackett_luce_loss(s, ranks, groups, normalizer=3).loss, scores)


def test_extreme_scores_stay_finite() -> None:
    """-log sigmoid(-2000) = 2000, with a gradient of 1 that does not vanish; a ranking against the scores the same."""
    output, (gradient, _) = loss_and_gradients(
        lambda c, r: bradley_terry_loss(c, r, normalizer=1), doubles(-1000), doubles(1000)
    )
    assert_equal(output.loss, 2000.0)
    assert_equal(gradient, [-1.0])
    ranks, groups = torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.long)
    output, (gradient,) = loss_and_gradients(
        lambda s: plackett_luce_loss(s, ranks, groups, normalizer=1), doubles(-1000, 1000, 1000)
    )
    assert_equal(
        output.loss, 2000.0 - math.log(3 / 4)
    )  # e^-2000 times 1/2 (second, first) and 1/2 * 1/2 (first, second)
    assert torch.isfinite(gradient).all()
    assert_equal(gradient[0], -1.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        bradley_terry_loss(doubles(1, 2), doubles(1), normalizer=1)
    with pytest.raises(ValueError, match="one shape"):
        plackett_luce_loss(doubles(1, 2), torch.tensor([0, 1]), torch.tensor([0]), normalizer=1)
