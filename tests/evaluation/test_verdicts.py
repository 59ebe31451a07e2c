from __future__ import annotations

from typing import Any

import pytest

from trimtab.evaluation.verdicts import Bars, Promise, Verdict, verdicts_on

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
    trained: str = "policy",
    trained_on_checks: tuple[str, ...] = (),
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
        "judge": {"name": "reward", "trained": trained},
        "trained_on_checks": trained_on_checks,
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


INDEPENDENT = "the mean score of a reward model that played no part in it"
OWN = "the reward model's mean score"
SHARE = "the share of answers that pass every check"


@pytest.mark.parametrize(
    ("kind", "trained", "score", "method"),
    [
        ("ppo", "policy", OWN, "Reinforcement learning"),
        ("grpo", "policy", OWN, "Reinforcement learning"),
        ("grpo", "", INDEPENDENT, "Reinforcement learning"),
        ("dpo", "", INDEPENDENT, "Learning from comparisons"),
        ("dpo", "sft", OWN, "Learning from comparisons"),  # made from a model that was trained to please the judge
    ],
)
def test_claims_name_the_method_and_say_whose_score_it_is(kind: str, trained: str, score: str, method: str) -> None:
    found = judged(kinds={"base": "", "sft": "sft", "policy": kind}, trained=trained)
    assert [verdict.claim for verdict in found[2:]] == [
        f"{method} raises {score} (sft to policy).",
        f"{method} keeps {SHARE} (sft to policy).",
    ]
    assert [verdict.outcome for verdict in found[2:]] == ["met", "met"]


def test_a_judge_of_which_nothing_is_known_is_not_called_independent() -> None:
    change = {"metric": "score", "group": "all", "before": "a", "after": "b", "estimate": estimate(0.5, 0.3, 0.7)}
    evaluation = {"models": ["a", "b"], "kinds": {"a": "sft", "b": "ppo"}, "metrics": [], "differences": [change]}
    (verdict,) = verdicts_on(evaluation, BARS)
    assert verdict.claim == f"Reinforcement learning raises {OWN} (a to b)."


@pytest.mark.parametrize(
    ("truth", "rises", "kept"),
    [
        ((0.06, 0.01, 0.11), "met", "met"),
        ((0.02, -0.02, 0.06), "open", "met"),
        ((-0.1, -0.2, -0.01), "not met", "not met"),
    ],
)
def test_a_model_that_checks_scored_must_come_to_pass_more_of_them(truth: Any, rises: str, kept: str) -> None:
    kinds = {"base": "", "sft": "sft", "policy": "grpo"}
    found = judged(kinds=kinds, trained="", trained_on_checks=("policy",), truth=truth)
    assert found[3].claim == f"Reinforcement learning, scored by such checks, raises {SHARE} (sft to policy)."
    assert found[3].bar == "difference with its whole interval above 0"
    assert "points" in found[3].finding
    assert found[4].claim == f"Reinforcement learning keeps {SHARE} (sft to policy)."
    assert [verdict.outcome for verdict in found[3:]] == [rises, kept]


def test_every_model_is_held_against_the_one_before_it() -> None:
    pairs = [("sft", "first"), ("first", "second"), ("second", "third")]
    evaluation = {
        "models": ["base", "sft", "first", "second", "third"],
        "kinds": {"base": "", "sft": "sft", "first": "dpo", "second": "ppo", "third": "grpo"},
        "judge": {"name": "reward", "trained": "second"},
        "metrics": [],
        "differences": [
            {"metric": "score", "group": "all", "before": old, "after": new, "estimate": estimate(0.5, 0.3, 0.7)}
            for old, new in [("base", "sft"), *pairs]
        ],
    }
    assert [verdict.claim for verdict in verdicts_on(evaluation, None)] == [
        f"Learning from comparisons raises {INDEPENDENT} (sft to first).",
        f"Reinforcement learning raises {OWN} (first to second).",
        f"Reinforcement learning raises {OWN} (second to third).",
    ]


def promised(change: tuple[float, float, float], **promise: Any) -> list[Verdict]:
    """One promise on the last model against the first."""
    difference = {"metric": "pass", "group": "all", "before": "base", "after": "policy", "estimate": estimate(*change)}
    evaluation = {
        "models": ["base", "sft", "policy"],
        "kinds": {"base": "", "sft": "", "policy": ""},
        "groups": {"all": 80, "other": 3},
        "metrics": [],
        "differences": [difference],
        "judge": None,
    }
    return verdicts_on(evaluation, None, [Promise("It stays so.", **{"group": "all"} | promise)])


@pytest.mark.parametrize(
    ("change", "outcome", "told"),
    [
        ((0.0, -0.09, 0.09), "met", "A loss of more than 10 points is ruled out."),
        ((-0.05, -0.10, -0.01), "met", "A loss of more than 10 points is ruled out."),  # it fell, within the margin
        ((-0.05, -0.104, 0.01), "open", "We cannot rule out a loss of up to 11 points."),
        ((-0.2, -0.3, -0.11), "not met", "n = 80."),
        ((-0.2, -0.3, -0.1), "open", "We cannot rule out a loss of up to 30 points."),
    ],
)
def test_a_promised_margin_is_held_to_the_interval(change: tuple[float, float, float], outcome: str, told: str) -> None:
    (found,) = promised(change, largest_loss=0.1)
    assert (found.claim, found.outcome) == ("It stays so.", outcome)
    assert found.finding.endswith(told)


@pytest.mark.parametrize(
    ("change", "outcome"), [((0.1, 0.01, 0.2), "met"), ((0.1, -0.01, 0.2), "open"), ((-0.1, -0.2, -0.01), "not met")]
)
def test_a_promised_rise(change: tuple[float, float, float], outcome: str) -> None:
    (found,) = promised(change)
    assert found.outcome == outcome


def test_a_promise_on_a_group_without_checks_is_passed_over() -> None:
    assert promised((0.1, 0.0, 0.2), group="other") == []
