"""What every loss over response tokens promises: the cut, the order and the padding of a batch change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from torch import Tensor

from trimtab.algorithms.kl import kl_loss
from trimtab.algorithms.output import LossOutput, merge, reduce
from trimtab.algorithms.ppo import clipped_policy_loss, clipped_value_loss
from trimtab.algorithms.sft import sft_loss

from .cases import (
    RAGGED,
    assert_equal,
    few_examples,
    loss_and_gradients,
    mask_of,
    ragged_lengths,
    random_tensors,
    repadded,
    seeds,
)

TokenLoss = Callable[..., LossOutput]


def policy(*tensors: Tensor, normalizer: float) -> LossOutput:
    return clipped_policy_loss(*tensors, clip_eps=0.2, normalizer=normalizer)


def value(*tensors: Tensor, normalizer: float) -> LossOutput:
    return clipped_value_loss(*tensors, clip_eps=0.2, normalizer=normalizer)


every_loss = pytest.mark.parametrize(("loss_of", "inputs"), [(sft_loss, 1), (policy, 3), (value, 3), (kl_loss, 2)])


def test_sft_by_hand() -> None:
    """Tokens of probability 1/2, 1/4 and 1/8 in a global batch of 6: (1 + 2 + 3) log 2 / 6. Gradients are -1/6."""
    logprobs = torch.tensor([[0.5, 0.25], [0.125, 1.0]], dtype=torch.float64).log()
    mask = torch.tensor([[True, True], [True, False]])
    output, (gradient,) = loss_and_gradients(lambda x: sft_loss(x, mask, normalizer=6), logprobs)
    assert_equal(output.loss, math.log(2))
    assert_equal(gradient, [[-1 / 6, -1 / 6], [-1 / 6, 0.0]])
    assert reduce(output.metrics)["sft/loss"] == pytest.approx(2 * math.log(2))  # over the three tokens seen


def check_cut(loss_of: TokenLoss, inputs: int, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    """Micro-batches of one response each, trimmed to its length: shares, gradients and metrics add up."""
    mask = mask_of(lengths)
    tensors = random_tensors(mask, inputs, seed)
    count = int(mask.sum())
    whole, gradients = loss_and_gradients(lambda *x: loss_of(*x, mask, normalizer=count), *tensors)
    parts = []
    for r, length in enumerate(lengths):
        keep = mask[r : r + 1, :length]
        part, part_gradients = loss_and_gradients(
            lambda *x, keep=keep: loss_of(*x, keep, normalizer=count), *(x[r : r + 1, :length] for x in tensors)
        )
        parts.append(part)
        for gradient, part_gradient in zip(gradients, part_gradients, strict=True):
            assert_equal(part_gradient, gradient[r : r + 1, :length])
    assert_equal(sum(part.loss for part in parts), whole.loss)
    assert reduce(merge(*(part.metrics for part in parts))) == pytest.approx(reduce(whole.metrics), rel=1e-6, abs=1e-9)


def check_padding(loss_of: TokenLoss, inputs: int, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    """More padding, and anything in it."""
    mask = mask_of(lengths)
    tensors = random_tensors(mask, inputs, seed)
    expected, gradients = loss_and_gradients(lambda *x: loss_of(*x, mask, normalizer=7), *tensors)
    width = max(lengths) + 2
    wide_mask = mask_of(lengths, width)
    for padding in (0.0, 1e4, -math.inf, math.nan):
        wide = [repadded(tensor, mask, width, padding) for tensor in tensors]
        output, wide_gradients = loss_and_gradients(lambda *x: loss_of(*x, wide_mask, normalizer=7), *wide)
        assert_equal(output.loss, expected.loss)
        assert reduce(output.metrics) == pytest.approx(reduce(expected.metrics), rel=1e-6, abs=1e-9)
        for gradient, wide_gradient in zip(gradients, wide_gradients, strict=True):
            assert_equal(wide_gradient[wide_mask], gradient[mask])
            assert not wide_gradient[~wide_mask].any()


def check_order(loss_of: TokenLoss, inputs: int, lengths: Sequence[int] = RAGGED, seed: int = 0) -> None:
    mask = mask_of(lengths)
    tensors = random_tensors(mask, inputs, seed)
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed))
    expected, gradients = loss_and_gradients(lambda *x: loss_of(*x, mask, normalizer=7), *tensors)
    output, mixed_gradients = loss_and_gradients(
        lambda *x: loss_of(*x, mask[order], normalizer=7), *(tensor[order] for tensor in tensors)
    )
    assert_equal(output.loss, expected.loss)
    for gradient, mixed_gradient in zip(gradients, mixed_gradients, strict=True):
        assert_equal(mixed_gradient, gradient[order])


@every_loss
@few_examples
@given(lengths=ragged_lengths, seed=seeds)
def test_cut_order_and_padding_change_nothing(loss_of: TokenLoss, inputs: int, lengths: list[int], seed: int) -> None:
    check_cut(loss_of, inputs, lengths, seed)
    check_order(loss_of, inputs, lengths, seed)
    check_padding(loss_of, inputs, lengths, seed)


@every_loss
@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (0, 0)])
@pytest.mark.parametrize("normalizer", [0, 5])
def test_an_empty_mask_gives_zero_and_no_gradient(
    loss_of: TokenLoss, inputs: int, shape: tuple[int, int], normalizer: int
) -> None:
    tensors = [torch.full(shape, math.nan) for _ in range(inputs)]
    mask = torch.zeros(shape, dtype=torch.bool)
    output, gradients = loss_and_gradients(lambda *x: loss_of(*x, mask, normalizer=normalizer), *tensors)
    assert output.loss.item() == 0.0
    assert not any(gradient.any() for gradient in gradients)
    assert set(reduce(output.metrics).values()) == {0.0}


@every_loss
def test_gradients_are_those_of_finite_differences(loss_of: TokenLoss, inputs: int) -> None:
    mask = mask_of(RAGGED)
    tensors = [tensor.requires_grad_() for tensor in random_tensors(mask, inputs, 0, padding=0.0)]
    assert torch.autograd.gradcheck(lambda *x: loss_of(*x, mask, normalizer=7).loss, tensors)


@every_loss
def test_float32_stays_float32(loss_of: TokenLoss, inputs: int) -> None:
    mask = mask_of(RAGGED)
    tensors = random_tensors(mask, inputs, 0)
    output = loss_of(*(tensor.float() for tensor in tensors), mask, normalizer=7)
    assert output.loss.dtype == torch.float32
    assert_equal(output.loss, loss_of(*tensors, mask, normalizer=7).loss, rtol=1e-5)


@every_loss
def test_a_broadcast_is_refused(loss_of: TokenLoss, inputs: int) -> None:
    mask = mask_of((3, 3, 3))
    with pytest.raises(ValueError, match="one shape"):
        loss_of(torch.zeros(3), *random_tensors(mask, inputs - 1, 0), mask, normalizer=9)


@every_loss
def test_the_normalizer_is_required(loss_of: TokenLoss, inputs: int) -> None:
    mask = mask_of(RAGGED)
    with pytest.raises(TypeError, match="normalizer"):
        loss_of(*random_tensors(mask, inputs, 0), mask)
