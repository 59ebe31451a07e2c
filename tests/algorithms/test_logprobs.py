"""Log-probabilities and entropy: by hand, against softmax's definition, in low precision, and in their memory."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import logprobs as reference
from torch import Tensor

from trimtab.algorithms import logprobs as module
from trimtab.algorithms.logprobs import entropy, token_logprobs, token_logprobs_and_entropy

from .cases import assert_equal, few_examples, seeds

ODDS = [0.0, math.log(2), math.log(5)]


def test_by_hand() -> None:
    """Odds 1 : 2 : 5, so p = 1/8, 1/4, 5/8. At temperature 1/2 odds are squared, 1 : 4 : 25, of 30."""
    logits = torch.tensor([ODDS, ODDS], dtype=torch.float64)
    targets = torch.tensor([2, 0])
    assert_equal(token_logprobs(logits, targets), [math.log(5 / 8), math.log(1 / 8)])
    assert_equal(token_logprobs(logits, targets, temperature=0.5), [math.log(25 / 30), math.log(1 / 30)])
    by_hand = math.log(8) / 8 + math.log(4) / 4 + 5 / 8 * math.log(8 / 5)
    assert_equal(entropy(logits), [by_hand, by_hand])


def test_entropy_of_certainty_and_of_none() -> None:
    """A token of probability 1 has entropy 0, also beside impossible ones; four equal tokens have log 4."""
    assert entropy(torch.tensor([0.0, -math.inf, -math.inf])).item() == 0.0
    assert_equal(entropy(torch.ones(4)), math.log(4))


def random_logits(count: int, vocabulary: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, vocabulary, generator=generator, dtype=torch.float64)
    return logits, torch.randint(vocabulary, (count,), generator=generator)


def check_logprobs(
    function: Callable[..., Tensor], sizes: tuple[int, int] = (7, 5), seed: int = 0, temperature: float = 0.7
) -> None:
    """Values and gradients of a weighted sum of log-probabilities."""
    logits, targets = random_logits(*sizes, seed)
    rows = list(zip(logits.tolist(), targets.tolist(), strict=True))
    logits.requires_grad_()
    result = function(logits, targets, temperature=temperature)
    assert_equal(result, [reference.token_logprob(row, target, temperature) for row, target in rows])
    weights = torch.arange(1.0, len(rows) + 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * result).sum(), logits)
    by_loops = [reference.token_logprob_gradient(row, target, temperature) for row, target in rows]
    assert_equal(gradient, weights[:, None] * torch.tensor(by_loops, dtype=torch.float64))


def check_entropy(
    function: Callable[..., Tensor], sizes: tuple[int, int] = (7, 5), seed: int = 0, temperature: float = 0.7
) -> None:
    logits, _ = random_logits(*sizes, seed)
    result = function(logits, temperature=temperature)
    assert_equal(result, [reference.entropy(row, temperature) for row in logits.tolist()])


def first_of_both(*arguments: Tensor, temperature: float) -> Tensor:
    return token_logprobs_and_entropy(*arguments, temperature=temperature)[0]


def second_of_both(logits: Tensor, temperature: float) -> Tensor:
    targets = torch.zeros(len(logits), dtype=torch.long)
    return token_logprobs_and_entropy(logits, targets, temperature=temperature)[1]


@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_both_at_once_against_loops(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradients for the log-probabilities, and an entropy that is not in the way of them."""
    monkeypatch.setattr(module, "_CPU_ELEMENTS", 5 * rows_at_once)
    check_logprobs(first_of_both)
    check_entropy(second_of_both)
    logits, targets = random_logits(7, 5, 0)
    assert not token_logprobs_and_entropy(logits.requires_grad_(), targets)[1].requires_grad


def test_both_at_once_beside_impossible_tokens() -> None:
    logits = torch.tensor([[0.0, -math.inf, -math.inf], [0.0, 0.0, -math.inf]])
    logprobs, entropies = token_logprobs_and_entropy(logits, torch.tensor([0, 1]))
    assert_equal(logprobs, [0.0, math.log(1 / 2)])
    assert_equal(entropies, [0.0, math.log(2)])


@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_against_loops(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the rows do not divide into chunks."""
    monkeypatch.setattr(module, "_CPU_ELEMENTS", 5 * rows_at_once)
    check_logprobs(token_logprobs)
    check_entropy(entropy)


@few_examples
@given(st.integers(1, 9), st.integers(1, 9), seeds, st.sampled_from([0.3, 1.0, 2.5]))
def test_against_loops_at_any_size(count: int, vocabulary: int, seed: int, temperature: float) -> None:
    check_logprobs(token_logprobs, (count, vocabulary), seed, temperature)
    check_entropy(entropy, (count, vocabulary), seed, temperature)


def test_gradients_are_those_of_finite_differences() -> None:
    logits, targets = random_logits(4, 5, 0)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, targets, temperature=0.7), logits)
    assert torch.autograd.gradcheck(lambda x: entropy(x, temperature=0.7), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_logits_give_float32_results(dtype: torch.dtype) -> None:
    """Rounding the logits is the only loss: from the rounded numbers on, all is computed in float32."""
    logits, targets = random_logits(6, 50, 0)
    rounded = logits.to(dtype).requires_grad_()
    result, entropies = token_logprobs(rounded, targets, temperature=0.7), entropy(rounded, temperature=0.7)
    assert result.dtype == entropies.dtype == torch.float32
    rows = rounded.tolist()
    assert_equal(result, [reference.token_logprob(r, t, 0.7) for r, t in zip(rows, targets.tolist(), strict=True)])
    assert_equal(entropies, [reference.entropy(row, 0.7) for row in rows])
    result.sum().backward()
    assert rounded.grad is not None
    assert rounded.grad.dtype == dtype


def test_large_logits_do_not_overflow() -> None:
    """Odds e^1000 : 1 leave log p = 0 and -1000."""
    logits = torch.tensor([[1000.0, 0.0], [1000.0, 0.0]])
    assert_equal(token_logprobs(logits, torch.tensor([0, 1])), [0.0, -1000.0])


def test_only_the_logits_and_one_number_a_token_are_kept() -> None:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    logits, targets = random_logits(8, 100, 0)
    low = logits.bfloat16().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        token_logprobs(low, targets, temperature=0.7)
    large = [x for x in saved if x.numel() >= logits.numel()]
    assert [x.data_ptr() for x in large] == [low.data_ptr()]
    assert sum(x.numel() for x in saved) == logits.numel() + 2 * len(targets)


def test_leading_dimensions_are_kept() -> None:
    logits, targets = random_logits(6, 4, 0)
    assert_equal(token_logprobs(logits.view(2, 3, 4), targets.view(2, 3)), token_logprobs(logits, targets).view(2, 3))
    assert entropy(logits.view(2, 3, 4)).shape == (2, 3)
    assert token_logprobs(logits[:0], targets[:0]).shape == entropy(logits[:0]).shape == (0,)
    assert token_logprobs(logits[0], targets[0]).shape == entropy(logits[0]).shape == ()


def test_misuse_is_refused() -> None:
    logits, targets = random_logits(6, 4, 0)
    with pytest.raises(ValueError, match="temperature is 0"):
        token_logprobs(logits, targets, temperature=0)
    with pytest.raises(ValueError, match=r"logits \[6, 4\] need targets \[6\], not \[5\]"):
        token_logprobs(logits, targets[:5])
