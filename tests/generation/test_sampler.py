"""The sampler: hand-worked draws, its filters against slow definitions, and the borders of the unit interval."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.generation.sampler import Sampling, choose, invert_cdf, keep_top_k, keep_top_p

HALF_THIRD_SIXTH = torch.tensor([[1 / 2, 1 / 3, 1 / 6]])
ALMOST_ONE = 1 - 2**-24


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.83, 1), (0.84, 2), (ALMOST_ONE, 2)])
def test_a_uniform_number_picks_the_token_whose_interval_holds_it(uniform: float, token: int) -> None:
    """Intervals of 1/2, 1/3, 1/6: [0, .5), [.5, .833), [.833, 1)."""
    assert invert_cdf(HALF_THIRD_SIXTH, torch.tensor([uniform])).item() == token


@given(st.integers(1, 700), st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 0.999, ALMOST_ONE]))
def test_a_token_of_probability_zero_never_comes_out(size: int, seed: int, uniform: float) -> None:
    """Most of the vocabulary impossible, at sizes around the block's."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(3, size, generator=generator) * (torch.rand(3, size, generator=generator) < 0.1)
    weights[:, int(torch.randint(size, (1,), generator=generator))] = 1e-6
    probabilities = weights / weights.sum(-1, keepdim=True)
    tokens = invert_cdf(probabilities, torch.full((3,), uniform))
    assert (probabilities.gather(1, tokens[:, None]) > 0).all()


@given(st.integers(2, 400), st.integers(0, 10_000))
def test_the_draw_is_the_plain_inverse_of_the_running_sum(size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(1, size, generator=generator, dtype=torch.float64).softmax(-1)
    uniform = torch.rand(1, generator=generator, dtype=torch.float64)
    running, expected = 0.0, size - 1
    for token, p in enumerate(probabilities[0].tolist()):
        running += p
        if running > uniform.item():
            expected = token
            break
    assert invert_cdf(probabilities, uniform).item() == expected


def test_temperature_sharpens_and_the_log_probability_says_by_how_much() -> None:
    """Odds of 2 to 1 at temperature 1/2 are 4 to 1."""
    logits = torch.tensor([[math.log(2.0), 0.0]])
    tokens, logprobs = choose(logits, torch.tensor([0.79]), Sampling(temperature=0.5))
    assert tokens.item() == 0
    assert logprobs.item() == pytest.approx(math.log(4 / 5))
    tokens, logprobs = choose(logits, torch.tensor([0.81]), Sampling(temperature=0.5))
    assert tokens.item() == 1
    assert logprobs.item() == pytest.approx(math.log(1 / 5))


def test_greedy_takes_the_likeliest_and_reports_the_models_own_probability() -> None:
    tokens, logprobs = choose(HALF_THIRD_SIXTH.log() + 3, torch.tensor([0.99]), Sampling(temperature=0))
    assert tokens.item() == 0
    assert logprobs.item() == pytest.approx(math.log(1 / 2))


def test_top_p_keeps_the_fewest_tokens_that_reach_it() -> None:
    """1/2 alone does not reach 0.6; 1/2 and 1/3 do, and become 3/5 and 2/5."""
    torch.testing.assert_close(keep_top_p(HALF_THIRD_SIXTH, 0.6), torch.tensor([[3 / 5, 2 / 5, 0.0]]))
    torch.testing.assert_close(keep_top_p(HALF_THIRD_SIXTH, 0.5), torch.tensor([[1.0, 0.0, 0.0]]))


def test_top_p_over_a_flat_large_vocabulary_looks_past_the_likeliest_thousand() -> None:
    flat = torch.full((1, 5000), 1 / 5000) * (1 + torch.arange(5000) * 1e-6)
    kept = keep_top_p(flat / flat.sum(), 0.9)
    assert (kept > 0).sum().item() == pytest.approx(4500, abs=5)


def test_top_k_keeps_k() -> None:
    kept = keep_top_k(torch.tensor([[3.0, 1.0, 2.0]]), 2)
    assert kept.tolist() == [[3.0, -math.inf, 2.0]]
    assert keep_top_k(kept, 10) is kept


@pytest.mark.parametrize("bad", [{"temperature": -0.1}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}])
def test_impossible_settings_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match="it must be"):
        Sampling(**bad)
