"""Reward heads and their disagreement: values by hand, another solver, and what must not change anything."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from trimtab.labelling.reward_heads import Array, draw, fit_head, fit_heads, mutual_information, probability


def pairs(number: int, width: int, seed: int = 0) -> tuple[Array, Array]:
    """Random differences, and targets of which some are shares of several votes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, width)), rng.integers(0, 4, size=number) / 3


def slow_head(differences: Array, targets: Array, counts: Array, prior_std: float, centre: Array) -> Array:
    """The same minimum by a general solver, from the sum of cross-entropies written out pair by pair."""

    def loss(head: Array) -> float:
        total = float((head - centre) @ (head - centre)) / (2 * prior_std**2)
        for x, y, count in zip(differences, targets, counts, strict=True):
            margin = float(x @ head)
            log_p, log_q = -math.log1p(math.exp(-margin)), -math.log1p(math.exp(margin))
            total -= count * (y * log_p + (1 - y) * log_q)
        return total

    return minimize(loss, np.zeros(differences.shape[1]), method="BFGS", options={"gtol": 1e-7}).x


def slow_information(probabilities: Array) -> float:
    """Mutual information of head and answer from their joint distribution: sum of p(k, a) log(p(k, a) / p(k) p(a))."""
    joint = np.stack([probabilities, 1 - probabilities], axis=1) / len(probabilities)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float(sum(p * math.log(p / q) for p, q in zip(joint.ravel(), independent.ravel(), strict=True) if p))


def test_one_vote_by_hand() -> None:
    """x = 1, y = 1: the slope w / s² - (1 - σ(w)) is 0 at w = 1 if s² = 1 / σ(-1) = 1 + e."""
    one = np.ones((1, 1))
    head = fit_head(one, np.ones(1), np.ones(1), prior_std=math.sqrt(1 + math.e))
    assert head.tolist() == pytest.approx([1.0], abs=1e-10)


def test_even_votes_leave_the_prior() -> None:
    assert fit_head(np.ones((3, 2)), np.full(3, 0.5), np.ones(3), prior_std=2.0) == pytest.approx(
        np.zeros(2), abs=1e-12
    )


@pytest.mark.parametrize(("number", "width"), [(5, 9), (30, 4)])
def test_another_solver_finds_the_same_heads(number: int, width: int) -> None:
    """With fewer pairs than features, and more."""
    differences, targets = pairs(number, width)
    heads = fit_heads(differences, targets, heads=3, prior_std=1.5, seed=7)
    for found, which in zip(heads, range(3), strict=True):
        counts, centre = draw(number, width, 7, which)
        slow = slow_head(differences, targets, counts, 1.5, 1.5 * centre)
        assert found == pytest.approx(slow, abs=1e-4)


def test_whole_steps_would_never_arrive_here() -> None:
    """Of 3000 random problems with heavy tails whole Newton steps failed on eleven; this is one of them."""
    differences = np.array(
        [[-5.08, 5.78, 11.26], [8.37, -15.69, -0.46], [17.85, -7.35, -4.88], [1.85, -1.49, 1.71], [-10.05, 6.73, -6.42]]
    )
    targets = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    head = fit_head(differences, targets, np.ones(5), prior_std=11.9)
    slope = differences.T @ (probability(differences @ head) - targets) + head / 11.9**2
    assert np.abs(slope).max() < 1e-6


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 5))
def test_which_response_is_first_changes_nothing(seed: int, number: int, width: int) -> None:
    differences, targets = pairs(number, width, seed)
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], size=number)
    swapped = np.where(sign > 0, targets, 1 - targets)
    head = fit_head(differences, targets, np.ones(number), prior_std=2.0)
    other = fit_head(differences * sign[:, None], swapped, np.ones(number), prior_std=2.0)
    assert head == pytest.approx(other, abs=1e-8)


def test_a_count_is_so_many_pairs() -> None:
    differences, targets = pairs(6, 3)
    counts = np.array([0.0, 1.0, 2.0, 0.0, 3.0, 1.0])
    repeated = counts.astype(int)
    one = fit_head(differences, targets, counts, prior_std=1.0)
    other = fit_head(np.repeat(differences, repeated, 0), np.repeat(targets, repeated), np.ones(7), prior_std=1.0)
    assert one == pytest.approx(other, abs=1e-9)


def test_what_makes_heads_differ_follows_from_the_seeds() -> None:
    counts, centre = draw(50, 3, 3, 1)
    assert counts.sum() == 50
    assert counts.max() > 1
    for seeds, alike in (((3, 1), True), ((3, 2), False), ((4, 1), False)):
        again, same = draw(50, 3, *seeds)
        assert ((counts == again).all() and (centre == same).all()) == alike


def test_heads_differ_as_the_prior_does_where_no_pair_was_seen() -> None:
    """The deviation of 1000 draws has a standard error of 1 / sqrt(2000) = 2.2 % of it; four of them are allowed."""
    differences = np.column_stack([pairs(200, 1)[0], np.zeros(200)])
    heads = fit_heads(differences, np.full(200, 0.5), heads=1000, prior_std=4.0, seed=0)
    assert heads[:, 1].std() == pytest.approx(4.0, rel=0.09)
    assert heads[:, 0].std() < 0.5


def test_probability_of_extreme_margins() -> None:
    assert probability(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("said", "nats"),
    [
        ([0.0, 1.0], math.log(2)),  # heads that are sure of opposites: the answer tells which is right
        ([0.5, 0.5], 0.0),  # an even choice, by all accounts
        ([0.9, 0.9], 0.0),
        ([0.9, 0.1], math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1)),  # H(1/2) - H(0.9)
        ([1.0, 1.0, 1.0, 0.0], 0.5623351446188083),  # H(3/4) - 0 = log 4 - 3/4 log 3
    ],
)
def test_information_by_hand(said: list[float], nats: float) -> None:
    assert mutual_information(np.array(said)[:, None])[0] == pytest.approx(nats, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9))
def test_information_is_that_of_the_joint_distribution(said: list[float]) -> None:
    p = np.array(said)
    found = mutual_information(np.stack([p, 1 - p], axis=1))
    assert found == pytest.approx(np.full(2, slow_information(p)), abs=1e-9)
    assert 0.0 <= found.min() <= found.max() <= math.log(2) + 1e-12
