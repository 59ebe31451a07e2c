from __future__ import annotations

from typing import Any

import pytest

from trimtab.evaluation.verdicts import Bars, Verdict, verdicts_on

BARS = Bars(group="all", before_below=0.2, after_above=0.7, largest_loss=0.05)


def estimate(value: float, low: float, high: float, n: int = 80) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n, "method": "x"}


def judged(
    *,
    base: tuple[float, float, float] = (0.05, 0.02, 0.1),
    sft: tuple[float, float, float] = (0.85, 0.75, 0.9),
    accuracy: tuple[float, float, float] = (0.65, 0.55, 0.75),
    score: tuple[float, float, float] = (0.5, 0.3, 0.7),
    truth: tuple[float, float, float] = (0.01, -0.03, 0.05),
    kinds: dict[str, str] | None = None,
    bars: Bars | None = BARS,
) -> list[Verdict]:
    shares = {"base": estimate(*base), "sft": estimate(*sft), "policy": estimate(*sft)}
    step = {"group": "all", "before": "sft", "after": "policy"}
    evaluation = {
        "models": ["base", "sft", "policy"],
        "kinds": kinds or {"base": "", "sft": "sft", "policy": "ppo"},
        "groups": {"all": 80},
        "metrics": [{"metric": "pass", "group": "all", "by_model": shares}],
        "differences": [
            {"metric": "score", **step, "estimate": estimate(*score)},
            {"metric": "pass", **step, "estimate": estimate(*truth)},
        ],
        "reward_model": {"accuracy": estimate(*accuracy)},
    }
    return verdicts_on(evaluation, bars)


def test_all_bars_met() -> None:
    found = judged()
    assert [verdict.outcome for verdict in found] == ["met"] * 4
    assert "A loss of more than 5 points is ruled out" in found[3].finding


@pytest.mark.parametrize(
    ("base", "sft", "outcome"),
    [
        ((0.19, 0.1, 0.199), (0.75, 0.701, 0.8), "met"),
        ((0.19, 0.1, 0.3), (0.75, 0.701, 0.8), "open"),
        ((0.1, 0.05, 0.15), (0.71, 0.6, 0.8), "open"),
        ((0.20, 0.1, 0.3), (0.90, 0.8, 0.95), "not met"),
        ((0.05, 0.0, 0.1), (0.70, 0.6, 0.8), "not met"),
    ],
)
def test_fine_tuning_must_go_from_below_one_bar_to_above_the_other(base: Any, sft: Any, outcome: str) -> None:
    verdict = judged(base=base, sft=sft)[0]
    assert verdict.outcome == outcome
    assert ("reaches across" in verdict.finding) == (outcome == "open")


def test_verdicts_are_on_what_was_done_and_promised() -> None:
    """A model from outside proves nothing of training; without bars pass shares are held to nothing."""
    claims = [verdict.claim.split()[0] for verdict in judged(kinds={"base": "", "sft": "", "policy": ""})]
    assert claims == ["The"]  # the reward model's accuracy alone
    assert [verdict.claim.split()[0] for verdict in judged(bars=None)] == ["The", "Reinforcement"]


@pytest.mark.parametrize(
    ("accuracy", "outcome"),
    [((0.6, 0.501, 0.7), "met"), ((0.6, 0.5, 0.7), "open"), ((0.4, 0.3, 0.49), "not met")],
)
def test_the_reward_model_must_be_above_chance(accuracy: Any, outcome: str) -> None:
    assert judged(accuracy=accuracy)[1].outcome == outcome


@pytest.mark.parametrize(
    ("score", "outcome"),
    [((0.2, 0.01, 0.4), "met"), ((0.2, -0.01, 0.4), "open"), ((-0.2, -0.4, -0.1), "not met")],
)
def test_the_score_must_rise(score: Any, outcome: str) -> None:
    assert judged(score=score)[2].outcome == outcome


@pytest.mark.parametrize(
    ("truth", "outcome", "words"),
    [
        ((0.0, -0.05, 0.05), "met", "ruled out"),
        ((0.02, -0.071, 0.1), "open", "cannot rule out a loss of up to 8 points"),
        ((-0.1, -0.2, -0.01), "not met", "The share fell"),
        ((-0.02, -0.03, -0.01), "not met", "The share fell"),
    ],
)
def test_the_truth_must_not_fall_and_doubt_is_said(truth: Any, outcome: str, words: str) -> None:
    verdict = judged(truth=truth)[3]
    assert verdict.outcome == outcome
    assert words in verdict.finding
