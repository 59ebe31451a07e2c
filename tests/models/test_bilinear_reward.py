"""A bilinear reward model: its scores by hand, and what it is after it was saved."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from tests.models.plain import plain_states
from tests.training.world import tiny_policy

from trimtab.errors import ModelError
from trimtab.models.bilinear_reward import BilinearHead, BilinearReward, Standard, load_bilinear_head
from trimtab.models.loading import is_reward_model, load_bilinear_reward
from trimtab.models.rows import TokenRow

ROWS = [TokenRow((5, 6, 7), ((8, 9), (10,))), TokenRow((11,), ((12, 13, 14),))]


def random_head(width: int) -> BilinearHead:
    draw = torch.Generator().manual_seed(3)

    def vector() -> torch.Tensor:
        return torch.randn(width, generator=draw)

    standards = (Standard(vector(), vector().abs() + 0.5) for _ in range(2))
    interaction = torch.randn(width, width, generator=draw)
    return BilinearHead(*standards, vector(), interaction, gain=2.0, bias=-1.0)


def saved(folder: Path) -> BilinearReward:
    policy = tiny_policy(seed=1)
    policy.save(folder / "base")
    model = BilinearReward(policy.trunk, random_head(policy.trunk.config.hidden_size), base=str(folder / "base"))
    model.save(folder / "reward")
    return model


def test_scores_by_hand() -> None:
    """D = 2: p = (1, 0) / sqrt 2 and a = (4, 1) / sqrt 2, so w + M p = (1 + 2 / sqrt 2, 1)."""
    head = BilinearHead(
        Standard(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])),
        Standard(torch.zeros(2), torch.tensor([1.0, 2.0])),
        torch.tensor([1.0, 1.0]),
        torch.tensor([[2.0, 5.0], [0.0, 7.0]]),
        gain=10.0,
        bias=0.5,
    )
    expected = 10 * (4 * (1 + 2 / math.sqrt(2)) + 1) / math.sqrt(2) + 0.5
    (score,) = head.scores(torch.tensor([3.0, 0.0]), torch.tensor([[4.0, 2.0]])).tolist()
    assert score == pytest.approx(expected, rel=1e-6)


def test_it_scores_mean_states_of_prompt_and_response() -> None:
    policy = tiny_policy(seed=1)
    model = BilinearReward(policy.trunk, random_head(policy.trunk.config.hidden_size), base="")
    for row, scores in zip(ROWS, model.score_rows(ROWS, pad_id=0, max_tokens=100), strict=True):
        for response, score in zip(row.responses, scores, strict=True):
            states, start = (
                plain_states(policy.trunk.causal_lm, row.prompt_ids + response).detach().float(),
                len(row.prompt_ids),
            )
            (expected,) = model.head.scores(states[:start].mean(0), states[start:].mean(0)[None])
            torch.testing.assert_close(score, expected, atol=1e-3, rtol=1e-3)


def test_standardised_features_have_length_1_on_average() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 3 + 2
    features[:, 2] = 4.0  # what never varies is not divided by 0
    standardised = Standard.of(features)(features)
    assert standardised.mean(0).abs().max() < 1e-6
    assert standardised.square().sum(1).mean().item() == pytest.approx(7 / 8, rel=1e-5)


def test_saved_and_loaded_it_says_the_same_and_survives_a_move(tmp_path: Path) -> None:
    before = torch.cat(saved(tmp_path / "here").score_rows(ROWS, pad_id=0, max_tokens=100))
    assert is_reward_model(tmp_path / "here" / "reward")
    shutil.move(tmp_path / "here", tmp_path / "there")
    loaded = load_bilinear_reward(tmp_path / "there" / "reward")
    torch.testing.assert_close(torch.cat(loaded.score_rows(ROWS, pad_id=0, max_tokens=100)), before)


def test_a_head_of_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(ModelError, match="was made for hidden size"):
        load_bilinear_head(tmp_path / "reward", 12345)
