"""PPO: by hand, against loops, and the identities that tie it to returns, TD errors and REINFORCE."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from tests.reference import ppo as reference
from tests.reference import statistics
from tests.reference.logprobs import token_logprob_gradient
from torch import Tensor

from trimtab.algorithms.logprobs import token_logprobs
from trimtab.algorithms.output import LossOutput, reduce
from trimtab.algorithms.ppo import (
    affine_fit,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    gae,
    kl_shaped_rewards,
)

from .cases import (
    RAGGED,
    assert_equal,
    loss_and_gradients,
    many,
    mask_of,
    padded,
    random_tensors,
    random_vector,
    responses,
    tokens,
)

ALL = torch.ones(1, 3, dtype=torch.bool)
Loss = Callable[..., LossOutput]


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


# Rewards and advantages


def test_rewards_by_hand() -> None:
    """log p - log p_ref = 0.1, -0.2, 0.3 at coefficient 0.5 costs 0.05, -0.1, 0.15; the score 1 comes at the end."""
    rewards = kl_shaped_rewards(torch.tensor([1.0]), row(-1.0, -2.0, -0.5), row(-1.1, -1.8, -0.8), ALL, kl_coef=0.5)
    assert_equal(rewards, row(-0.05, 0.1, -0.15 + 1))


def test_advantages_by_hand() -> None:
    """r = 0, 0, 1; V = 0.5, 0.4, 0.2; gamma 0.9, lambda 0.5, so their product is 0.45.

    d_2 = 1 - 0.2 = 0.8; d_1 = 0.9 * 0.2 - 0.4 = -0.22; d_0 = 0.9 * 0.4 - 0.5 = -0.14.
    A_2 = 0.8; A_1 = -0.22 + 0.45 * 0.8 = 0.14; A_0 = -0.14 + 0.45 * 0.14 = -0.077. Returns add V.
    """
    advantages, returns = gae(row(0, 0, 1), row(0.5, 0.4, 0.2), ALL, gamma=0.9, gae_lambda=0.5)
    assert_equal(advantages, row(-0.077, 0.14, 0.8))
    assert_equal(returns, row(0.423, 0.54, 1.0))


def check_rewards(function: Callable[..., Tensor], lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    logprobs, ref_logprobs = random_tensors(mask, 2, seed)
    scores = random_vector(len(lengths), seed)
    rewards = function(scores, logprobs, ref_logprobs, mask, kl_coef=0.3)
    by_loops = [
        reference.kl_shaped_rewards(score, p, q, 0.3)
        for score, p, q in zip(scores.tolist(), responses(logprobs, mask), responses(ref_logprobs, mask), strict=True)
    ]
    assert_equal(rewards, padded(by_loops, mask.shape[1]))


def check_advantages(
    function: Callable[..., tuple[Tensor, Tensor]],
    lengths: Sequence[int] = RAGGED,
    seed: int = 0,
    gamma: float = 0.9,
    gae_lambda: float = 0.6,
) -> None:
    mask = mask_of(lengths)
    rewards, values = random_tensors(mask, 2, seed)
    advantages, returns = function(rewards, values, mask, gamma=gamma, gae_lambda=gae_lambda)
    pairs = list(zip(responses(rewards, mask), responses(values, mask), strict=True))
    by_loops = [reference.advantages(r, v, gamma, gae_lambda) for r, v in pairs]
    targets = [[a + b for a, b in zip(adv, v, strict=True)] for adv, (_, v) in zip(by_loops, pairs, strict=True)]
    assert_equal(advantages, padded(by_loops, mask.shape[1]))
    assert_equal(returns, padded(targets, mask.shape[1]))


@many
def test_rewards_and_advantages_against_loops(lengths: list[int], seed: int) -> None:
    check_rewards(kl_shaped_rewards, lengths, seed)
    check_advantages(gae, lengths, seed)
    check_advantages(gae, lengths, seed, gamma=1.0, gae_lambda=0.95)


@many
def test_lambda_one_is_the_discounted_return_less_the_value(lengths: list[int], seed: int) -> None:
    mask = mask_of(lengths)
    rewards, values = random_tensors(mask, 2, seed)
    advantages, returns = gae(rewards, values, mask, gamma=0.9, gae_lambda=1.0)
    discounted = [reference.discounted_returns(r, 0.9) for r in responses(rewards, mask)]
    expected = padded(discounted, mask.shape[1])
    assert_equal(returns, expected)
    assert_equal(advantages[mask], (expected - values)[mask])


@many
def test_lambda_zero_is_the_td_error(lengths: list[int], seed: int) -> None:
    mask = mask_of(lengths)
    rewards, values = random_tensors(mask, 2, seed)
    advantages, _ = gae(rewards, values, mask, gamma=0.9, gae_lambda=0.0)
    pairs = zip(responses(rewards, mask), responses(values, mask), strict=True)
    assert_equal(advantages, padded([reference.td_errors(r, v, 0.9) for r, v in pairs], mask.shape[1]))


@many
def test_all_rewards_of_a_response_sum_to_its_score_less_the_penalty(lengths: list[int], seed: int) -> None:
    """sum_t R_t = score - kl_coef sum_t (log p - log p_ref), and 0 for a response without tokens."""
    mask = mask_of(lengths)
    logprobs, ref_logprobs = random_tensors(mask, 2, seed)
    scores = random_vector(len(lengths), seed)
    rewards = kl_shaped_rewards(scores, logprobs, ref_logprobs, mask, kl_coef=0.3)
    differences = [sum(numbers) for numbers in responses(logprobs - ref_logprobs, mask)]
    expected = [
        (score - 0.3 * difference) if length else 0.0
        for score, difference, length in zip(scores.tolist(), differences, lengths, strict=True)
    ]
    assert_equal(rewards.sum(1), expected)


def test_no_gradient_flows_through_rewards_and_advantages() -> None:
    x = row(1, 2, 3).requires_grad_()
    assert not kl_shaped_rewards(torch.ones(1), x, x, ALL, kl_coef=0.1).requires_grad
    assert not any(tensor.requires_grad for tensor in gae(x, x, ALL, gamma=1, gae_lambda=1))


def test_scores_that_are_not_one_a_response_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores \[3\] must be one number for each of 1 responses"):
        kl_shaped_rewards(torch.zeros(3), row(0, 0, 0), row(0, 0, 0), ALL, kl_coef=0.1)
    with pytest.raises(ValueError, match="one shape"):
        gae(row(0, 0, 0), row(0, 0), ALL, gamma=1, gae_lambda=1)


# The policy loss


def test_policy_loss_by_hand() -> None:
    """Ratios 1.5, 1.5, 0.5, 0.5 with advantages 1, -1, 1, -1, eps 0.2; divided by 4.

    Losses -1.2 (clipped), 1.5, -0.5, 0.8 (clipped): 0.6 in all. A clipped token has no gradient; another has -A rho.
    k3 of KL(old || policy) is rho - 1 - log rho.
    """
    ratios = [1.5, 1.5, 0.5, 0.5]
    old, advantages, mask = row(-1, -2, -3, -4), row(1, -1, 1, -1), torch.ones(1, 4, dtype=torch.bool)
    output, (gradient,) = loss_and_gradients(
        lambda x: clipped_policy_loss(x, old, advantages, mask, clip_eps=0.2, normalizer=4), old + row(*ratios).log()
    )
    assert_equal(output.loss, 0.6 / 4)
    assert_equal(gradient, row(0, 1.5 / 4, -0.5 / 4, 0))
    metrics = reduce(output.metrics)
    assert metrics["policy/loss"] == pytest.approx(0.6 / 4)
    assert metrics["policy/clip_fraction"] == 0.5
    assert metrics["policy/ratio"] == pytest.approx(1.0)
    assert metrics["policy/approx_kl"] == pytest.approx(sum(r - 1 - math.log(r) for r in ratios) / 4)


def check_policy_loss(loss_of: Loss, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    numbers = random_tensors(mask, 3, seed)
    output = loss_of(*numbers, mask, clip_eps=0.2, normalizer=5)
    total = sum(reference.policy_loss(p, q, a, clip_eps=0.2) for p, q, a in tokens(*numbers, mask=mask))
    assert_equal(output.loss, total / 5)


def check_reinforce(loss_of: Loss) -> None:
    """Before the first update the gradient in the logits is REINFORCE's: -A_t grad log p(y_t), a mean over tokens."""
    mask = mask_of(RAGGED)
    (advantages,) = random_tensors(mask, 1, 0)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*mask.shape, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, mask.shape, generator=generator)
    old = token_logprobs(logits, targets)
    count = int(mask.sum())
    _, (gradient,) = loss_and_gradients(
        lambda x: loss_of(token_logprobs(x, targets), old, advantages, mask, clip_eps=0.2, normalizer=count), logits
    )
    expected = torch.zeros_like(logits)
    for r, t in mask.nonzero().tolist():
        score = token_logprob_gradient(logits[r, t].tolist(), int(targets[r, t]), 1.0)
        expected[r, t] = -advantages[r, t] * torch.tensor(score, dtype=torch.float64) / count
    assert_equal(gradient, expected)


@many
def test_policy_loss_against_loops(lengths: list[int], seed: int) -> None:
    check_policy_loss(clipped_policy_loss, lengths, seed)


def test_the_on_policy_gradient_is_reinforce() -> None:
    check_reinforce(clipped_policy_loss)


# The value loss


def test_value_loss_by_hand() -> None:
    """V 1, old 0, return 2, eps 0.2: max(1, (0.2 - 2)^2) / 2 = 1.62, clipped, so no gradient.

    V 1, old 0.9, return 0: 1/2 either way, gradient V - R = 1. Divided by 2.
    """
    mask = torch.ones(1, 2, dtype=torch.bool)
    output, (gradient,) = loss_and_gradients(
        lambda x: clipped_value_loss(x, row(0, 0.9), row(2, 0), mask, clip_eps=0.2, normalizer=2), row(1, 1)
    )
    assert_equal(output.loss, (1.62 + 0.5) / 2)
    assert_equal(gradient, row(0, 0.5))
    assert reduce(output.metrics) == pytest.approx({"value/loss": 1.06, "value/clip_fraction": 0.5})


def check_value_loss(loss_of: Loss, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    numbers = random_tensors(mask, 3, seed)
    output = loss_of(*numbers, mask, clip_eps=0.2, normalizer=5)
    total = sum(reference.value_loss(v, old, g, clip_eps=0.2) for v, old, g in tokens(*numbers, mask=mask))
    assert_equal(output.loss, total / 5)


@many
def test_value_loss_against_loops(lengths: list[int], seed: int) -> None:
    check_value_loss(clipped_value_loss, lengths, seed)


def test_an_infinite_clip_is_the_squared_error() -> None:
    """(1 - 3)^2 / 2 = 2, whatever the old value."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert_equal(clipped_value_loss(row(1), row(-9), row(3), mask, clip_eps=math.inf, normalizer=1).loss, 2.0)


@pytest.mark.parametrize(
    ("values", "returns", "expected"),
    [
        ((1, 2, 3), (1, 2, 3), 1.0),
        ((9, 9, 9), (1, 2, 3), 0.0),  # a constant explains nothing
        ((6, 7, 8), (1, 2, 3), 1.0),  # an offset is not held against it
        ((-1, -2, -3), (1, 2, 3), -3.0),  # errors are twice the returns: 1 - 4
        ((1, 2, 3), (5, 5, 5), 0.0),  # nothing to explain
    ],
)
def test_explained_variance_by_hand(values: tuple, returns: tuple, expected: float) -> None:
    assert_equal(explained_variance(row(*values), row(*returns), ALL), expected)


def test_explained_variance_against_loops() -> None:
    mask = mask_of(RAGGED)
    values, returns = random_tensors(mask, 2, 0)
    expected = statistics.explained_variance(values[mask].tolist(), returns[mask].tolist())
    assert_equal(explained_variance(values, returns, mask), expected)
    assert explained_variance(values, returns, torch.zeros_like(mask)) == 0


def test_affine_fit_by_hand() -> None:
    """Values 1, 2, 3 and targets 2, 4, 7: covariance (7/3 + 8/3)/3 = 5/3, variance 2/3, so gain 5/2 and bias -2/3."""
    mask = torch.tensor([[True, True, True, False]])
    gain, bias = affine_fit(row(1, 2, 3, math.nan), row(2, 4, 7, math.inf), mask)
    assert gain == pytest.approx(2.5)
    assert bias == pytest.approx(-2 / 3)


def test_values_that_do_not_vary_are_fitted_by_the_mean() -> None:
    assert affine_fit(row(5, 5, 5), row(1, 2, 6), ALL) == (0.0, pytest.approx(3.0))


def test_a_fit_leaves_nothing_that_values_could_explain() -> None:
    """What is left over correlates with the values no more, and explained variance is not below 0."""
    mask = mask_of(RAGGED)
    values, targets = random_tensors(mask, 2, 3)
    gain, bias = affine_fit(values, targets, mask)
    left = (targets - gain * values - bias)[mask]
    assert left.sum().abs() < 1e-9
    assert (left * values[mask]).sum().abs() < 1e-9
    assert explained_variance(gain * values + bias, targets, mask) >= 0
