"""KL estimators against the divergence itself, and the controller by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import kl as reference
from torch import Tensor

from trimtab.algorithms.kl import adapt_kl_coef, k1, k2, k3

from .cases import assert_equal, few_examples

POLICY = [0.6, 0.3, 0.1]
REFERENCE = [0.1, 0.2, 0.7]
log_probabilities = st.floats(-20, -1e-6)


def test_by_hand() -> None:
    """p = 1/2, p_ref = 1/4, r = 1/2: k1 = log 2, k2 = (log 2)^2 / 2, k3 = 1/2 - 1 + log 2."""
    policy, ref = torch.tensor([1 / 2]).double().log(), torch.tensor([1 / 4]).double().log()
    assert_equal(k1(policy, ref), [math.log(2)])
    assert_equal(k2(policy, ref), [math.log(2) ** 2 / 2])
    assert_equal(k3(policy, ref), [math.log(2) - 1 / 2])


def check_unbiased(estimator: Callable[[Tensor, Tensor], Tensor]) -> None:
    """The exact mean over tokens of the policy is KL(policy || reference), not the other direction."""
    policy, ref = torch.tensor(POLICY, dtype=torch.float64), torch.tensor(REFERENCE, dtype=torch.float64)
    assert abs(reference.divergence(POLICY, REFERENCE) - reference.divergence(REFERENCE, POLICY)) > 0.05
    assert_equal((policy * estimator(policy.log(), ref.log())).sum(), reference.divergence(POLICY, REFERENCE))


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_are_unbiased(estimator: Callable[[Tensor, Tensor], Tensor]) -> None:
    check_unbiased(estimator)


@pytest.mark.parametrize("estimator", [k1, k3])
def test_samples_of_the_policy_find_the_divergence(estimator: Callable[[Tensor, Tensor], Tensor]) -> None:
    policy, ref = torch.tensor(POLICY, dtype=torch.float64), torch.tensor(REFERENCE, dtype=torch.float64)
    drawn = torch.multinomial(policy, 400_000, replacement=True, generator=torch.Generator().manual_seed(0))
    estimate = estimator(policy.log()[drawn], ref.log()[drawn]).mean()
    assert_equal(estimate, reference.divergence(POLICY, REFERENCE), rtol=1e-2)


def test_k2_is_right_for_near_distributions() -> None:
    """With p = p_ref (1 + e) both are of order e^2 and differ in the order e^3; here e is at most 1/1000."""
    near = [0.6 + 0.0002, 0.3 - 0.0001, 0.1 - 0.0001]
    policy, ref = torch.tensor(near, dtype=torch.float64), torch.tensor(POLICY, dtype=torch.float64)
    mean = (policy * k2(policy.log(), ref.log())).sum()
    assert_equal(mean, reference.divergence(near, POLICY), rtol=1e-2)


@few_examples
@given(log_probabilities, log_probabilities)
def test_against_scalars(logprob: float, ref_logprob: float) -> None:
    policy, ref = torch.tensor([logprob, ref_logprob], dtype=torch.float64)
    for estimator, scalar in ((k1, reference.k1), (k2, reference.k2), (k3, reference.k3)):
        assert_equal(estimator(policy, ref), scalar(math.exp(logprob), math.exp(ref_logprob)))
    assert k2(policy, ref) >= 0
    assert k3(policy, ref) >= 0
    assert k3(policy, policy) == 0


def test_k3_keeps_its_digits_near_zero() -> None:
    """e^d - 1 - d is d^2 / 2 + d^3 / 6 for small d; taken literally in float32, d = 1e-3 would leave no good digit."""
    d = torch.tensor(1e-3)
    assert_equal(k3(torch.zeros(()), d), 1e-6 / 2 + 1e-9 / 6, rtol=1e-2, atol=0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        k1(torch.zeros(2, 3), torch.zeros(3))


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (9.0, 0.15 * 1.01024),  # error 0.5, clipped to 0.2: 1 + 0.2 * 512 / 10000
        (6.3, 0.15 * 1.00256),  # error 0.05: 1 + 0.05 * 0.0512
        (6.0, 0.15),
        (0.0, 0.15 * 0.98976),  # error -1, clipped to -0.2
        (-1.0, 0.15 * 0.98976),  # an estimate may be negative
    ],
)
def test_the_controller_by_hand(kl: float, expected: float) -> None:
    assert adapt_kl_coef(0.15, kl, target=6.0, horizon=10_000, num_steps=512) == pytest.approx(expected, rel=1e-12)


def test_the_controller_finds_the_coefficient_that_holds_the_target() -> None:
    """Where KL is 0.6 / coefficient, a target of 6 is held by the coefficient 0.1."""
    coef = 0.5
    for _ in range(1000):
        coef = adapt_kl_coef(coef, 0.6 / coef, target=6.0, horizon=10_000, num_steps=512)
    assert coef == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(("target", "horizon"), [(0.0, 10_000), (6.0, 100)])
def test_a_controller_that_would_turn_the_sign_is_refused(target: float, horizon: float) -> None:
    with pytest.raises(ValueError, match="a KL controller needs"):
        adapt_kl_coef(0.1, 1.0, target=target, horizon=horizon, num_steps=512)
