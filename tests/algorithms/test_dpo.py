"""DPO: by hand, against loops, and what equation 7 promises of its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import dpo as reference
from tests.reference.preference import sigmoid
from torch import Tensor

from trimtab.algorithms.dpo import dpo_loss, implicit_rewards
from trimtab.algorithms.output import LossOutput, merge, reduce

from .cases import (
    RAGGED,
    assert_equal,
    few_examples,
    loss_and_gradients,
    many,
    mask_of,
    random_tensors,
    random_vector,
    repadded,
    responses,
    seeds,
)

Loss = Callable[..., LossOutput]
PAIRS = ([0, 2, 4, 3], [2, 0, 1, 4])
"""Which responses of a ragged batch are compared with which; one comes in three comparisons."""


def doubles(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


# By hand


def test_by_hand() -> None:
    """The policy has made the chosen response's two tokens 2 and 8 times as likely as the reference, which is log 16 in
    all, and the rejected response's one token 1/4 times. At beta 1/2 they earn log 4 and -log 2, a difference of log 8,
    so the label is found with probability 8/9."""
    ref_logprobs = doubles(0.1, 0.1, 0.8, 0.3).view(2, 2).log()
    logprobs = doubles(0.2, 0.8, 0.2, 0.3).view(2, 2).log()
    mask = torch.tensor([[True, True], [True, False]])
    rewards = implicit_rewards(logprobs, ref_logprobs, mask, beta=0.5)
    assert_equal(rewards, [math.log(4), -math.log(2)])
    output = dpo_loss(rewards[:1], rewards[1:], normalizer=1)
    assert_equal(output.loss, math.log(9 / 8))
    assert reduce(output.metrics) == pytest.approx(
        {
            "dpo/loss": math.log(9 / 8),
            "dpo/accuracy": 1.0,
            "dpo/margin": math.log(8),
            "dpo/chosen_reward": math.log(4),
            "dpo/rejected_reward": -math.log(2),
        }
    )


def test_label_smoothing_by_hand() -> None:
    """The same difference with a label that is right three times in four: 3/4 log(9/8) + 1/4 log 9."""
    rewards = doubles(math.log(4)), doubles(-math.log(2))
    loss = dpo_loss(*rewards, probability=doubles(0.75), normalizer=1).loss
    assert_equal(loss, 0.75 * math.log(9 / 8) + 0.25 * math.log(9))


def test_metrics_by_hand() -> None:
    """Right by 2; tied; label 1/4, so that the rejected one is favoured, by 3; label 1/2, which counts only in the
    means. Accuracy (1 + 1/2 + 1) / 3, margin (2 + 0 + 3) / 3, rewards 8 / 4 and 4 / 4."""
    output = dpo_loss(doubles(2, 1, 0, 5), doubles(0, 1, 3, 0), probability=doubles(1, 1, 0.25, 0.5), normalizer=4)
    metrics = reduce(output.metrics)
    assert metrics.pop("dpo/loss") == pytest.approx(output.loss.item())
    assert metrics == pytest.approx(
        {"dpo/accuracy": 2.5 / 3, "dpo/margin": 5 / 3, "dpo/chosen_reward": 2.0, "dpo/rejected_reward": 1.0}
    )


# Against loops


def rewards_by_loops(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, beta: float) -> list[float]:
    pairs = zip(responses(logprobs, mask), responses(ref_logprobs, mask), strict=True)
    return [reference.implicit_reward(pair, beta) for pair in pairs]


def check_implicit_rewards(function: Callable[..., Tensor], lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    logprobs, ref_logprobs = random_tensors(mask, 2, seed)
    expected = rewards_by_loops(logprobs, ref_logprobs, mask, 0.3)
    assert_equal(function(logprobs, ref_logprobs, mask, beta=0.3), expected)


def check_dpo(loss_of: Loss, seed: int = 0) -> None:
    """From log-probabilities to the loss, with soft labels and without."""
    mask = mask_of(RAGGED)
    logprobs, ref_logprobs = random_tensors(mask, 2, seed)
    rewards = doubles(*rewards_by_loops(logprobs, ref_logprobs, mask, 0.3))
    both = list(zip(responses(logprobs, mask), responses(ref_logprobs, mask), strict=True))
    labels = random_vector(len(PAIRS[0]), seed).sigmoid()
    for probability in (None, labels):
        output = loss_of(rewards[PAIRS[0]], rewards[PAIRS[1]], probability=probability, normalizer=3)
        by_loops = [
            reference.loss(both[c], both[r], 0.3, p)
            for c, r, p in zip(*PAIRS, [1.0] * 4 if probability is None else labels.tolist(), strict=True)
        ]
        assert_equal(output.loss, sum(by_loops) / 3)


@many
def test_implicit_rewards_against_loops(lengths: list[int], seed: int) -> None:
    check_implicit_rewards(implicit_rewards, lengths, seed)


@few_examples
@given(seeds)
def test_loss_against_loops(seed: int) -> None:
    check_dpo(dpo_loss, seed)


# Symmetries and limits


def check_swap(loss_of: Loss, seed: int = 0) -> None:
    """Exchanging the responses turns p into 1 - p, and nothing else: not loss, gradients, accuracy or margin."""
    chosen, rejected, labels = random_vector(15, seed).view(3, 5)
    p = labels.sigmoid()
    ours, (chosen_gradient, rejected_gradient) = loss_and_gradients(
        lambda c, r: loss_of(c, r, probability=p, normalizer=5), chosen, rejected
    )
    theirs, (first, second) = loss_and_gradients(
        lambda r, c: loss_of(r, c, probability=1 - p, normalizer=5), rejected, chosen
    )
    assert_equal(theirs.loss, ours.loss)
    assert_equal(first, rejected_gradient)
    assert_equal(second, chosen_gradient)
    numbers, others = reduce(ours.metrics), reduce(theirs.metrics)
    for name in ("dpo/loss", "dpo/accuracy", "dpo/margin"):
        assert others[name] == pytest.approx(numbers[name])
    assert others["dpo/chosen_reward"] == pytest.approx(numbers["dpo/rejected_reward"])
    # Without the labels' exchange it is another loss, by log sigmoid(d) - log sigmoid(-d) = d.
    turned, straight = (loss_of(*pair, normalizer=5).loss for pair in ((rejected, chosen), (chosen, rejected)))
    assert_equal(turned - straight, (chosen - rejected).mean())


@few_examples
@given(seeds)
def test_swapping_the_responses_swaps_the_label(seed: int) -> None:
    check_swap(dpo_loss, seed)


@few_examples
@given(seeds, st.floats(0, 1))
def test_without_beta_nothing_is_learnt(seed: int, label: float) -> None:
    """beta -> 0 makes every difference 0: log 2, whatever policy, reference and label, and no gradient."""
    mask = mask_of((3, 2))
    logprobs, ref_logprobs = random_tensors(mask, 2, seed)
    output, (gradient,) = loss_and_gradients(
        lambda x: whole_loss(x, ref_logprobs, mask, [0], [1], doubles(label), beta=1e-12), logprobs
    )
    assert_equal(output.loss, math.log(2))
    assert gradient.abs().max() < 1e-11


# Gradients


def whole_loss(
    logprobs: Tensor,
    ref_logprobs: Tensor,
    mask: Tensor,
    chosen: list[int],
    rejected: list[int],
    probability: Tensor | None = None,
    *,
    beta: float = 0.3,
    rewards_of: Callable[..., Tensor] = implicit_rewards,
) -> LossOutput:
    """From log-probabilities to the mean over comparisons."""
    rewards = rewards_of(logprobs, ref_logprobs, mask, beta=beta)
    return dpo_loss(rewards[chosen], rewards[rejected], probability=probability, normalizer=len(chosen))


def test_gradients_are_those_of_finite_differences() -> None:
    """Of log-probabilities, in float64, with soft labels and a response that is in three comparisons."""
    mask, labels = mask_of(RAGGED), random_vector(4, 1).sigmoid()
    logprobs, ref_logprobs = random_tensors(mask, 2, 0, padding=0.0)
    assert torch.autograd.gradcheck(
        lambda x: whole_loss(x, ref_logprobs, mask, *PAIRS, labels).loss, [logprobs.requires_grad_()]
    )


@many
def test_the_gradient_is_the_papers(lengths: list[int], seed: int) -> None:
    """Section 4: -beta sigmoid(r(y_l) - r(y_w)) [grad log pi(y_w) - grad log pi(y_l)]: each of a response's tokens gets
    the same, the chosen one's and the rejected one's opposite, and more of it the more wrong the rewards are."""
    lengths = [*lengths, 3, 2]
    mask, (chosen, rejected) = mask_of(lengths), (len(lengths) - 2, len(lengths) - 1)
    logprobs, ref_logprobs = random_tensors(mask, 2, seed)
    rewards = rewards_by_loops(logprobs, ref_logprobs, mask, 0.3)
    _, (gradient,) = loss_and_gradients(lambda x: whole_loss(x, ref_logprobs, mask, [chosen], [rejected]), logprobs)
    strength = 0.3 * sigmoid(rewards[rejected] - rewards[chosen])
    expected = torch.zeros_like(gradient)
    expected[chosen, :3], expected[rejected, :2] = -strength, strength
    assert_equal(gradient, expected)


def check_start(rewards_of: Callable[..., Tensor]) -> None:
    """Where the policy is its reference, the loss is log 2 and its gradient -beta/2 (grad log pi_w - grad log pi_l),
    whatever the log-probabilities are."""
    mask = mask_of((3, 0, 5))
    (logprobs,) = random_tensors(mask, 1, 0)
    output, (gradient,) = loss_and_gradients(
        lambda x: whole_loss(x, logprobs, mask, [0], [2], beta=0.4, rewards_of=rewards_of), logprobs
    )
    assert_equal(output.loss, math.log(2))
    assert_equal(gradient, torch.where(mask, doubles(-0.2, 0, 0.2)[:, None], 0.0))


def test_the_gradient_at_the_reference_is_half_of_beta() -> None:
    check_start(implicit_rewards)


# Cuts, padding and shapes


@few_examples
@given(seeds)
def test_cut_and_padding_change_nothing(seed: int) -> None:
    mask = mask_of(RAGGED)
    tensors = random_tensors(mask, 2, seed)
    labels = random_vector(4, seed).sigmoid()
    whole, (gradient,) = loss_and_gradients(lambda x: whole_loss(x, tensors[1], mask, *PAIRS, labels), tensors[0])

    wide_mask = mask_of(RAGGED, 8)
    for padding in (0.0, 1e4, -math.inf, math.nan):
        x, y = (repadded(tensor, mask, 8, padding) for tensor in tensors)
        output, (wide,) = loss_and_gradients(lambda x, y=y: whole_loss(x, y, wide_mask, *PAIRS, labels), x)
        assert_equal(output.loss, whole.loss)
        assert reduce(output.metrics) == pytest.approx(reduce(whole.metrics))
        assert_equal(wide[wide_mask], gradient[mask])
        assert not wide[~wide_mask].any()

    rewards = implicit_rewards(*tensors, mask, beta=0.3)
    parts = [
        dpo_loss(rewards[[c]], rewards[[r]], probability=labels[i : i + 1], normalizer=4)
        for i, (c, r) in enumerate(zip(*PAIRS, strict=True))
    ]
    assert_equal(sum(part.loss for part in parts), whole.loss)
    assert reduce(merge(*(part.metrics for part in parts))) == pytest.approx(reduce(whole.metrics))


def test_nothing_compared_is_zero() -> None:
    output = dpo_loss(doubles(), doubles(), probability=doubles(), normalizer=0)
    assert output.loss.item() == 0.0
    assert set(reduce(output.metrics).values()) == {0.0}


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (implicit_rewards, (torch.zeros(3), torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool))),
        (implicit_rewards, (torch.zeros(3, 3), torch.zeros(3), torch.ones(3, 3, dtype=torch.bool))),
        (dpo_loss, (torch.zeros(3), torch.zeros(1))),
    ],
)
def test_a_broadcast_is_refused(function: Callable[..., Any], arguments: tuple) -> None:
    with pytest.raises(ValueError, match="one shape"):
        function(*arguments, **({"beta": 0.1} if function is implicit_rewards else {"normalizer": 1}))


def test_float32_stays_float32() -> None:
    mask = mask_of(RAGGED)
    tensors = random_tensors(mask, 2, 0)
    output = whole_loss(*(tensor.float() for tensor in tensors), mask, *PAIRS)
    assert output.loss.dtype == torch.float32
    assert_equal(output.loss, whole_loss(*tensors, mask, *PAIRS).loss, rtol=1e-5)
