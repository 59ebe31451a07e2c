"""GRPO's parts put together: the objective of the papers, token weights, KL as a loss, importance weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import grpo as reference
from tests.reference import kl as kl_reference
from torch import Tensor

from trimtab.algorithms.aggregation import Aggregation, token_weights
from trimtab.algorithms.importance import logprob_gap, truncated_importance_weights
from trimtab.algorithms.kl import kl_loss
from trimtab.algorithms.output import LossOutput, reduce
from trimtab.algorithms.ppo import clipped_policy_loss

from .cases import (
    RAGGED,
    assert_equal,
    few_examples,
    loss_and_gradients,
    many,
    mask_of,
    padded,
    random_tensors,
    random_vector,
    repadded,
    responses,
    tokens,
)

Loss = Callable[..., LossOutput]
both_aggregations = pytest.mark.parametrize("aggregation", ["token", "response"])


def row(*numbers: float) -> Tensor:
    return torch.tensor([numbers], dtype=torch.float64)


# Weights of tokens


def test_token_weights_by_hand() -> None:
    mask = torch.tensor([[True, True, True, True], [True, False, False, False], [False] * 4])
    assert_equal(token_weights(mask, "token"), [[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert_equal(token_weights(mask, "response"), [[0.25] * 4, [1, 0, 0, 0], [0, 0, 0, 0]])
    assert token_weights(mask, "response").dtype == torch.float32


def check_token_weights(function: Callable[..., Tensor], lengths: Sequence[int] = RAGGED) -> None:
    """They sum to the number of tokens, or to 1 in every response that has some; and are 0 in padding."""
    mask = mask_of(lengths, max(lengths) + 1)
    by_token, by_response = function(mask, "token"), function(mask, "response")
    assert_equal(by_token.sum(1), lengths)
    assert_equal(by_response.sum(1), [min(length, 1) for length in lengths])
    for weights in (by_token, by_response):
        assert not weights[~mask].any()


@few_examples
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_token_weights_sum_to_their_normalizer(lengths: list[int]) -> None:
    check_token_weights(token_weights, lengths)


# The objective


def loss_of_parts(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    aggregation: Aggregation,
    importance: Tensor | None = None,
    *,
    weights_of: Callable[..., Tensor] = token_weights,
    policy_loss_of: Loss = clipped_policy_loss,
    kl_loss_of: Loss = kl_loss,
) -> LossOutput:
    """What a loop that minimises GRPO's objective with beta 0.3 puts together, over a batch of one micro-batch."""
    weights = weights_of(mask, aggregation).double()
    normalizer = len(mask) if aggregation == "response" else int(mask.sum())
    policy = policy_loss_of(
        logprobs,
        old_logprobs,
        advantages[:, None].expand(mask.shape),
        mask,
        clip_eps=0.2,
        weights=weights if importance is None else weights * importance,
        normalizer=normalizer,
    )
    kl = kl_loss_of(logprobs, ref_logprobs, mask, weights=weights, normalizer=normalizer)
    return LossOutput(policy.loss + 0.3 * kl.loss, {**policy.metrics, **kl.metrics})


def check_objective(
    aggregation: Aggregation, lengths: Sequence[int] = RAGGED, seed: int = 0, weighted: bool = True, **parts: Callable
) -> None:
    """Value and gradient of the papers' sums; the gradient by central differences of the sums themselves."""
    mask = mask_of(lengths)
    logprobs, old, ref, importance = random_tensors(mask, 4, seed)
    importance = importance.exp()
    advantages = random_vector(len(lengths), seed)
    output, (gradient,) = loss_and_gradients(
        lambda x: loss_of_parts(x, old, ref, advantages, mask, aggregation, importance if weighted else None, **parts),
        logprobs,
    )
    objective = reference.objective if aggregation == "response" else reference.token_level_objective

    def by_loops(numbers: Tensor) -> float:
        columns = [responses(tensor, mask) for tensor in (numbers, old, ref, importance)]
        rows = [
            reference.Response(advantage, p, q, r, w if weighted else None)
            for advantage, p, q, r, w in zip(advantages.tolist(), *columns, strict=True)
        ]
        return -objective(rows, 0.2, 0.3)

    assert_equal(output.loss, by_loops(logprobs))
    step, expected = 1e-6, torch.zeros_like(gradient)
    for r, t in mask.nonzero().tolist():
        there, back = logprobs.clone(), logprobs.clone()
        there[r, t] += step
        back[r, t] -= step
        expected[r, t] = (by_loops(there) - by_loops(back)) / (2 * step)
    assert_equal(gradient, expected, rtol=1e-5, atol=1e-8)


@both_aggregations
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_parts_make_the_papers_objective(aggregation: Aggregation, weighted: bool, seed: int) -> None:
    check_objective(aggregation, seed=seed, weighted=weighted)


def test_a_long_response_says_more_only_where_tokens_weigh_alike() -> None:
    """On policy, advantages 1 and -1, lengths 4 and 1: every token's gradient is -A w / normalizer."""
    mask = mask_of((4, 1))
    (logprobs,) = random_tensors(mask, 1, 0)
    advantages = torch.tensor([1.0, -1.0], dtype=torch.float64)
    expected = {
        "response": [[-1 / 8] * 4, [1 / 2, 0, 0, 0]],  # 1/4 and 1 over two responses
        "token": [[-1 / 5] * 4, [1 / 5, 0, 0, 0]],
    }
    for aggregation, gradient_by_hand in expected.items():
        _, (gradient,) = loss_and_gradients(
            lambda x, how=aggregation: loss_of_parts(x, logprobs, logprobs, advantages, mask, how), logprobs
        )
        assert_equal(gradient, gradient_by_hand)


# KL as a loss


def test_kl_loss_by_hand() -> None:
    """p_ref / p is 2 and 1/2: k3 is 1 - log 2 and log 2 - 1/2, 1/2 in all. The gradient of k3 is 1 - p_ref / p."""
    ref = row(-1, -2)
    mask = torch.ones(1, 2, dtype=torch.bool)
    output, (gradient,) = loss_and_gradients(lambda x: kl_loss(x, ref, mask, normalizer=4), ref - row(2, 0.5).log())
    assert_equal(output.loss, 0.5 / 4)
    assert_equal(gradient, row(-1 / 4, 0.5 / 4))
    assert reduce(output.metrics) == pytest.approx({"kl/loss": 0.25})


def check_kl_loss(loss_of: Loss, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    logprobs, ref_logprobs, logits = random_tensors(mask, 3, seed)
    weights = logits.exp()
    plain = [kl_reference.k3(math.exp(p), math.exp(q)) for p, q in tokens(logprobs, ref_logprobs, mask=mask)]
    weighted = [w * k for (w,), k in zip(tokens(weights, mask=mask), plain, strict=True)]
    assert_equal(loss_of(logprobs, ref_logprobs, mask, normalizer=7).loss, sum(plain) / 7)
    output = loss_of(logprobs, ref_logprobs, mask, weights=weights, normalizer=7)
    assert_equal(output.loss, sum(weighted) / 7)
    assert reduce(output.metrics) == pytest.approx({"kl/loss": sum(plain) / max(len(plain), 1)})


@many
def test_kl_loss_against_loops(lengths: list[int], seed: int) -> None:
    check_kl_loss(kl_loss, lengths, seed)


def test_the_expected_gradient_of_the_kl_loss_on_policy() -> None:
    """Over tokens the policy draws, the mean gradient of k3 in the logits, E_p[(1 - p_ref/p) grad log p], is
    p - p_ref: the gradient of KL(reference || policy), not of KL(policy || reference)."""
    policy, ref = row(0.6, 0.3, 0.1)[0], row(0.2, 0.2, 0.6)[0]
    logits = policy.log().requires_grad_()
    logprobs = logits.log_softmax(-1)[:, None]
    mask = torch.ones(3, 1, dtype=torch.bool)
    loss = kl_loss(logprobs, ref.log()[:, None], mask, weights=policy[:, None], normalizer=1).loss
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_equal(gradient, policy - ref)


# Weighted policy loss


def check_weighted_policy_loss(loss_of: Loss, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    """Each token's loss times its weight; the loss that is logged is the weighted mean; other metrics do not weigh."""
    mask = mask_of(lengths)
    *numbers, logits = random_tensors(mask, 4, seed)
    weights = logits.exp()
    output = loss_of(*numbers, mask, clip_eps=0.2, weights=weights, normalizer=5)
    plain = loss_of(*numbers, mask, clip_eps=0.2, normalizer=5)
    total = mass = 0.0
    for p, q, a, w in tokens(*numbers, weights, mask=mask):
        (term,) = reference.Response(a, [p], [q], [p]).terms(0.2, 0.0)
        total, mass = total - w * term, mass + w
    assert_equal(output.loss, total / 5)
    metrics, plainly = reduce(output.metrics), reduce(plain.metrics)
    assert metrics.pop("policy/loss") == pytest.approx(total / (mass or 1))
    plainly.pop("policy/loss")
    assert metrics == pytest.approx(plainly)


@many
def test_weighted_policy_loss_against_loops(lengths: list[int], seed: int) -> None:
    check_weighted_policy_loss(clipped_policy_loss, lengths, seed)


@pytest.mark.parametrize("padding", [0.0, -math.inf, math.nan])
def test_padding_of_weights_is_never_read(padding: float) -> None:
    mask, wide_mask = mask_of(RAGGED), mask_of(RAGGED, 8)
    logprobs, old, advantages, logits = random_tensors(mask, 4, 0)
    weights = logits.exp()
    for loss_of in (
        lambda x, o, a, w, m: clipped_policy_loss(x, o, a, m, clip_eps=0.2, weights=w, normalizer=7),
        lambda x, o, a, w, m: kl_loss(x, o, m, weights=w, normalizer=7),
    ):
        expected, (gradient,) = loss_and_gradients(lambda x, f=loss_of: f(x, old, advantages, weights, mask), logprobs)
        wide = [repadded(tensor, mask, 8, padding) for tensor in (logprobs, old, advantages, weights)]
        output, (wider,) = loss_and_gradients(lambda x, f=loss_of, w=wide: f(x, *w[1:], wide_mask), wide[0])
        assert_equal(output.loss, expected.loss)
        assert_equal(wider[wide_mask], gradient[mask])
        assert not wider[~wide_mask].any()


def test_weights_of_another_shape_are_refused() -> None:
    mask = mask_of((3, 3, 3))
    x, y, z = random_tensors(mask, 3, 0)
    with pytest.raises(ValueError, match="one shape"):
        clipped_policy_loss(x, y, z, mask, clip_eps=0.2, weights=torch.ones(3), normalizer=9)
    with pytest.raises(ValueError, match="one shape"):
        kl_loss(x, y, mask, weights=torch.ones(3), normalizer=9)


# Importance weights


def test_importance_weights_by_hand() -> None:
    """p / q is 2, 1/2 and 8, the last held at 3; padding is 0 whatever it holds."""
    mask = torch.tensor([[True, True, True, False]])
    logprobs, sampler = row(0.4, 0.25, 0.8, 1.0).log(), row(0.2, 0.5, 0.1, 1.0).log()
    logprobs[0, 3] = math.nan
    assert_equal(truncated_importance_weights(logprobs, sampler, mask, cap=3), row(2, 0.5, 3, 0))
    assert_equal(truncated_importance_weights(logprobs, sampler, mask, cap=100), row(2, 0.5, 8, 0))


def check_importance(function: Callable[..., Tensor], lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    logprobs, sampler = random_tensors(mask, 2, seed)
    pairs = zip(responses(logprobs, mask), responses(sampler, mask), strict=True)
    by_loops = [[reference.importance_weight(p, q, 1.5) for p, q in zip(*pair, strict=True)] for pair in pairs]
    assert_equal(function(logprobs, sampler, mask, cap=1.5), padded(by_loops, mask.shape[1]))


@many
def test_importance_weights_against_loops(lengths: list[int], seed: int) -> None:
    check_importance(truncated_importance_weights, lengths, seed)


def distributions(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A trainer's and a sampler's distribution over five tokens, and any function of the token."""
    trainer, sampler, function = random_vector(15, seed).view(3, 5)
    return trainer.softmax(0), sampler.softmax(0), function


def check_unbiased(function: Callable[..., Tensor], seed: int = 0) -> None:
    """All five tokens as five responses of one token. E_sampler[w f] is E_trainer[f] under a cap that holds nothing.
    With one it is too small by what was cut off, sum over tokens of max(p - cap q, 0) f, which bounds the bias."""
    trainer, sampler, f = distributions(seed)
    columns = trainer.log()[:, None], sampler.log()[:, None], torch.ones(5, 1, dtype=torch.bool)
    assert_equal((sampler * function(*columns, cap=1e9)[:, 0] * f).sum(), (trainer * f).sum())
    capped = function(*columns, cap=1.2)[:, 0]
    lost = sum(
        max(p - 1.2 * q, 0.0) * value for p, q, value in zip(*map(Tensor.tolist, (trainer, sampler, f)), strict=True)
    )
    assert_equal((sampler * capped * f).sum(), (trainer * f).sum() - lost)
    assert capped.max() <= 1.2
    assert (sampler * capped).sum() <= 1 + 1e-9


@pytest.mark.parametrize("seed", range(8))
def test_expectations_over_the_sampler_become_the_trainers(seed: int) -> None:
    check_unbiased(truncated_importance_weights, seed)


@pytest.mark.parametrize("cap", [1.0, 2.0, 1e9])
def test_equal_distributions_weigh_exactly_one(cap: float) -> None:
    mask = mask_of(RAGGED)
    (logprobs,) = random_tensors(mask, 1, 0)
    for numbers in (logprobs, logprobs.float()):
        assert torch.equal(truncated_importance_weights(numbers, numbers, mask, cap=cap), mask.to(numbers.dtype))


def test_importance_weights_are_constants() -> None:
    mask = mask_of((2, 1))
    logprobs, sampler = (x.requires_grad_() for x in random_tensors(mask, 2, 0))
    assert not truncated_importance_weights(logprobs, sampler, mask, cap=2).requires_grad
    assert not logprob_gap(logprobs, sampler, mask).requires_grad


def test_a_ratio_that_overflows_is_held_by_the_cap() -> None:
    mask = torch.ones(1, 1, dtype=torch.bool)
    assert_equal(truncated_importance_weights(row(0.0).float(), row(-200.0).float(), mask, cap=2), row(2))


@pytest.mark.parametrize("cap", [0.999, 0.0, -1.0, math.nan])
def test_a_cap_below_one_is_refused(cap: float) -> None:
    mask = mask_of((1,))
    with pytest.raises(ValueError, match="at least 1"):
        truncated_importance_weights(row(0), row(0), mask, cap=cap)


@pytest.mark.parametrize("function", [partial(truncated_importance_weights, cap=2), logprob_gap])
def test_importance_of_another_shape_is_refused(function: Callable[..., Tensor]) -> None:
    mask = mask_of((3, 3, 3))
    with pytest.raises(ValueError, match="one shape"):
        function(torch.zeros(3), torch.zeros(3, 3), mask)


# The gap


def check_gap(function: Callable[..., Tensor]) -> None:
    """Differences 0.1, -0.3 and 0.2 of real tokens: 0.6 / 3, however they point, and whatever stands in padding."""
    mask = torch.tensor([[True, True], [True, False]])
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, math.nan]], dtype=torch.float64)
    sampler = torch.tensor([[-1.1, -1.7], [-3.2, 7.0]], dtype=torch.float64)
    assert_equal(function(logprobs, sampler, mask), 0.2)
    assert_equal(function(sampler, logprobs, mask), 0.2)


def test_the_gap_by_hand() -> None:
    check_gap(logprob_gap)
    assert logprob_gap(torch.zeros(2, 0), torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)) == 0
