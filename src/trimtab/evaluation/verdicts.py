"""Headline claims judged against bars that were stated before the run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trimtab.evaluation.format import Unit, change_estimate_text, estimate_text
from trimtab.evaluation.outputs import TEMPLATED
from trimtab.evaluation.statistics import Estimate

Outcome = Literal["met", "not met", "open"]

METHODS: Mapping[str, str] = {
    "dpo": "Learning from comparisons",
    "ppo": "Reinforcement learning",
    "grpo": "Reinforcement learning",
}
"""Kinds of stages that improve on a model that can already answer, in words."""


@dataclass(frozen=True, slots=True)
class Bars:
    """What was promised. Shares are from 0 to 1; `group` is the group of prompts whose pass share is spoken of."""

    group: str
    before_below: float
    after_above: float
    largest_loss: float


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised of the last model against the first, on a group's share of answers that pass every check.

    It rises, or, with `largest_loss`, loses less than that.
    """

    claim: str
    group: str
    largest_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim: what was promised, whether it was kept, and the numbers. "open" means the data cannot tell."""

    claim: str
    bar: str
    outcome: Outcome
    finding: str

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


def verdicts_on(evaluation: Mapping[str, Any], bars: Bars | None, promises: Sequence[Promise] = ()) -> list[Verdict]:
    """The verdicts an evaluation's numbers allow, on models whose making is known.

    The first model that fine-tuning made is judged against the base, both ways where the base was asked both ways;
    every model made by one of `METHODS` against the model before it. Without bars there is nothing to hold pass shares
    to.
    """
    names, kinds = evaluation["models"], evaluation["kinds"]
    found: list[Verdict | None] = []
    tuned = next((name for name in names[1:] if kinds[name] == "sft"), None)
    bases = [names[0], *(name for name in names[1:] if kinds[name] == TEMPLATED)]
    if tuned is not None and len(bases) > 1:
        for base in bases:
            change = _change(evaluation, "answered", "all", base, tuned)
            claim = f"Learning from demonstrations makes the model answer rather than continue ({base} to {tuned})."
            found.append(_rises(change, claim, "share") if change is not None else None)
    if bars is not None and tuned is not None:
        shares = _by_model(evaluation, "pass", bars.group)
        if shares:
            better = max(bases, key=lambda name: shares[name].value)
            found.append(_raises(shares, better, tuned, bars))
    if evaluation.get("reward_model"):
        found.append(_above_chance(Estimate.from_json(evaluation["reward_model"]["accuracy"])))
    for old, new in itertools.pairwise(names):
        if kinds[new] in METHODS:
            found += _improves(evaluation, old, new, bars)
    found += [_kept(evaluation, promise) for promise in promises]
    return [verdict for verdict in found if verdict is not None]


def _kept(evaluation: Mapping[str, Any], promise: Promise) -> Verdict | None:
    """What came of a promise; nothing when its group has no checks."""
    names = evaluation["models"]
    change = _change(evaluation, "pass", promise.group, names[0], names[-1])
    if change is None:
        return None
    if promise.largest_loss is None:
        return _rises(change, promise.claim, "share")
    return _loses_less(change, promise.claim, promise.largest_loss)


def _improves(evaluation: Mapping[str, Any], old: str, new: str, bars: Bars | None) -> list[Verdict]:
    """What one of `METHODS` did to the score and to the truth."""
    method, found = METHODS[evaluation["kinds"][new]], []
    change = _change(evaluation, "score", "all", old, new)
    if change is not None:
        score = "the reward model's mean score"
        if _is_independent(evaluation, new):
            score = "the mean score of a reward model that played no part in it"
        found.append(_rises(change, f"{method} raises {score} ({old} to {new}).", "score"))
    change, share = _change(evaluation, "pass", "all", old, new), "the share of answers that pass every check"
    if change is not None and new in evaluation.get("trained_on_checks", ()):
        found.append(_rises(change, f"{method}, scored by such checks, raises {share} ({old} to {new}).", "share"))
    if change is not None and bars is not None:
        found.append(_loses_little(change, f"{method} keeps {share} ({old} to {new}).", bars.largest_loss))
    return found


def _is_independent(evaluation: Mapping[str, Any], name: str) -> bool:
    """Whether, as far as is known, the reward model trained neither this model nor one before it, which it may be made
    from."""
    judge = evaluation.get("judge")
    so_far = evaluation["models"][: evaluation["models"].index(name) + 1]
    return judge is not None and judge["trained"] not in so_far


def _raises(shares: Mapping[str, Estimate], before: str, after: str, bars: Bars) -> Verdict:
    old, new = shares[before], shares[after]
    reached = old.value < bars.before_below and new.value > bars.after_above
    clear = old.high < bars.before_below and new.low > bars.after_above
    of_group = "" if bars.group == "all" else f" ({bars.group} prompts)"
    finding = f"{before}: {estimate_text(old, 'share')}; {after}: {estimate_text(new, 'share')}; n = {new.n}."
    if reached and not clear:
        finding += " The shares are beyond the bars, but an interval reaches across one."
    return Verdict(
        claim=f"Learning from demonstrations raises the share of answers that pass every check{of_group}.",
        bar=f"from below {100 * bars.before_below:.0f} % to above {100 * bars.after_above:.0f} %, with the intervals",
        outcome="met" if clear else "open" if reached else "not met",
        finding=finding,
    )


def _above_chance(accuracy: Estimate) -> Verdict:
    return Verdict(
        claim="The reward model tells better answers from worse ones on comparisons it never saw.",
        bar="accuracy with its whole interval above 50 %, which is guessing",
        outcome="met" if accuracy.low > 0.5 else "not met" if accuracy.high < 0.5 else "open",
        finding=f"Accuracy {estimate_text(accuracy, 'share')}, n = {accuracy.n} prompts.",
    )


def _rises(change: Estimate, claim: str, unit: Unit) -> Verdict:
    return Verdict(
        claim=claim,
        bar="difference with its whole interval above 0",
        outcome="met" if change.low > 0 else "not met" if change.high < 0 else "open",
        finding=f"Difference {change_estimate_text(change, unit)}, paired by prompt, n = {change.n}.",
    )


def _loses_little(change: Estimate, claim: str, largest_loss: float) -> Verdict:
    """The share does not fall, as far as can be told, and a loss of more than the margin is ruled out."""
    bar = "the interval of the difference reaches 0 and rules out"
    fell = change.high < 0
    outcome: Outcome = "not met" if fell else "met" if change.low >= -largest_loss else "open"
    return _on_a_loss(change, claim, largest_loss, bar, outcome, " The share fell." if fell else "")


def _loses_less(change: Estimate, claim: str, margin: float) -> Verdict:
    """Non-inferiority: what counts is the margin that was stated before, whether or not the share fell at all."""
    outcome: Outcome = "met" if change.low >= -margin else "not met" if change.high < -margin else "open"
    return _on_a_loss(change, claim, margin, "the interval of the difference rules out", outcome, "")


def _on_a_loss(change: Estimate, claim: str, margin: float, bar: str, outcome: Outcome, missed: str) -> Verdict:
    """A verdict on a loss, with what the interval says of the margin; `missed` is said where the bar was not met."""
    points = f"{100 * margin:.0f} points"
    said = {
        "met": f" A loss of more than {points} is ruled out.",
        "open": f" We cannot rule out a loss of up to {math.ceil(-100 * change.low)} points.",
        "not met": missed,
    }
    finding = f"Difference {change_estimate_text(change, 'share')}, paired by prompt, n = {change.n}.{said[outcome]}"
    return Verdict(claim=claim, bar=f"{bar} a loss of more than {points}", outcome=outcome, finding=finding)


def _by_model(evaluation: Mapping[str, Any], metric: str, group: str) -> dict[str, Estimate]:
    for row in evaluation["metrics"]:
        if (row["metric"], row["group"]) == (metric, group):
            return {name: Estimate.from_json(found) for name, found in row["by_model"].items() if found is not None}
    return {}


def _change(evaluation: Mapping[str, Any], metric: str, group: str, before: str, after: str) -> Estimate | None:
    wanted = (metric, group, before, after)
    for row in evaluation["differences"]:
        if (row["metric"], row["group"], row["before"], row["after"]) == wanted:
            return Estimate.from_json(row["estimate"])
    return None
