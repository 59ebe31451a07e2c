"""Headline claims judged against bars that were stated before the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trimtab.evaluation.format import change_estimate_text, estimate_text
from trimtab.evaluation.statistics import Estimate

Outcome = Literal["met", "not met", "open"]


@dataclass(frozen=True, slots=True)
class Bars:
    """What was promised. Shares are from 0 to 1; `group` is the group of prompts whose pass share is spoken of."""

    group: str = "all"
    before_below: float = 0.20
    after_above: float = 0.70
    largest_loss: float = 0.05


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


def verdicts_on(evaluation: Mapping[str, Any], bars: Bars) -> list[Verdict]:
    """The verdicts an evaluation's numbers allow. The first two models are before and after fine-tuning on
    demonstrations; with three or more, the last two are before and after reinforcement learning.
    """
    names = evaluation["models"]
    group = bars.group if bars.group in evaluation["groups"] else "all"
    found: list[Verdict | None] = []
    if len(names) > 1:
        shares = _by_model(evaluation, "pass", group)
        found.append(_raises(shares, names[0], names[1], group, bars) if shares else None)
    if evaluation.get("reward_model"):
        found.append(_above_chance(Estimate.from_json(evaluation["reward_model"]["accuracy"])))
    if len(names) > 2:
        old, new = names[-2:]
        change = _change(evaluation, "score", "all", old, new)
        found.append(_score_rises(change, old, new) if change else None)
        change = _change(evaluation, "pass", "all", old, new)
        found.append(_truth_kept(change, old, new, bars) if change else None)
    return [verdict for verdict in found if verdict is not None]


def _raises(shares: Mapping[str, Estimate], before: str, after: str, group: str, bars: Bars) -> Verdict:
    old, new = shares[before], shares[after]
    kept = old.value < bars.before_below and new.value > bars.after_above
    clear = old.high < bars.before_below and new.low > bars.after_above
    of_group = "" if group == "all" else f" ({group} prompts)"
    finding = f"{before}: {estimate_text(old, 'share')}; {after}: {estimate_text(new, 'share')}; n = {new.n}."
    if kept:
        finding += " Both intervals are beyond the bars too." if clear else " The intervals reach across a bar."
    return Verdict(
        claim=f"Learning from demonstrations raises the share of answers that pass every check{of_group}.",
        bar=f"from below {100 * bars.before_below:.0f} % to above {100 * bars.after_above:.0f} %",
        outcome="met" if kept else "not met",
        finding=finding,
    )


def _above_chance(accuracy: Estimate) -> Verdict:
    return Verdict(
        claim="The reward model tells better answers from worse ones on comparisons it never saw.",
        bar="accuracy with its whole interval above 50 %, which is guessing",
        outcome="met" if accuracy.low > 0.5 else "not met" if accuracy.high < 0.5 else "open",
        finding=f"Accuracy {estimate_text(accuracy, 'share')}, n = {accuracy.n} prompts.",
    )


def _score_rises(change: Estimate, before: str, after: str) -> Verdict:
    return Verdict(
        claim=f"Reinforcement learning raises the reward model's mean score ({before} to {after}).",
        bar="difference with its whole interval above 0",
        outcome="met" if change.low > 0 else "not met" if change.high < 0 else "open",
        finding=f"Difference {change_estimate_text(change, 'score')}, paired by prompt, n = {change.n}.",
    )


def _truth_kept(change: Estimate, before: str, after: str, bars: Bars) -> Verdict:
    bar = 100 * bars.largest_loss
    finding = f"Difference {change_estimate_text(change, 'share')}, paired by prompt, n = {change.n}."
    outcome: Outcome = "open"
    if change.high < 0:
        outcome = "not met"
        finding += " The share fell."
    elif change.low >= -bars.largest_loss:
        outcome = "met"
        finding += f" A loss of more than {bar:.0f} points is ruled out."
    else:
        finding += f" We cannot rule out a loss of up to {math.ceil(-100 * change.low)} points."
    return Verdict(
        claim=f"Reinforcement learning keeps the share of answers that pass every check ({before} to {after}).",
        bar=f"a loss of more than {bar:.0f} points is ruled out by the interval",
        outcome=outcome,
        finding=finding,
    )


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
