"""Numbers with their uncertainty: every estimate carries n and a 95 % interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.evaluation.distributions import chi_square_tail, normal_quantile, sign_test, t_quantile

CONFIDENCE = 0.95
_FEW_DISCORDANT = 25


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its 95 % interval and what it rests on.

    `n` counts independent units (prompts, when several responses to a prompt were drawn). `low` and `high` are infinite
    when one unit says nothing about the spread.
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}] (n = {self.n})"

    def to_json(self) -> dict[str, Any]:
        """Plain values; an infinite bound becomes None, which JSON can carry."""
        low, high = (bound if math.isfinite(bound) else None for bound in (self.low, self.high))
        return {"value": self.value, "low": low, "high": high, "n": self.n, "method": self.method}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Estimate:
        """The estimate `to_json` described."""
        low = -math.inf if data["low"] is None else data["low"]
        high = math.inf if data["high"] is None else data["high"]
        return cls(data["value"], low, high, data["n"], data["method"])


@dataclass(frozen=True, slots=True)
class McNemar:
    """Whether two ways of answering the same prompts pass equally often; only prompts on which they differ count."""

    only_before: int
    only_after: int
    p_value: float
    method: str


def proportion(successes: int, n: int) -> Estimate:
    """Share of n independent yes/no outcomes. Source: Wilson 1927 (score interval)."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"no proportion of {successes} in {n}")
    low, high = _wilson(successes / n, n, normal_quantile(CONFIDENCE))
    return Estimate(successes / n, low, high, n, "Wilson interval")


def clustered_proportion(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """Share of outcomes in [0, 1] that come in groups, such as several responses to one prompt.

    The Wilson interval at the effective sample size p(1-p)/SE², with the cluster-robust standard error SE (Miller 2024,
    arXiv 2411.00640, equation 4) and Student's t in place of z. The effective size is at most the number of outcomes,
    and the number of clusters when they show no spread at all.
    """
    centre, error, count = _clustered(values, clusters)
    if any(not 0.0 <= value <= 1.0 for value in values):
        raise ValueError("outcomes must be from 0 to 1")
    size = float(count)
    if error > 0.0:
        size = min(centre * (1.0 - centre) / error**2, float(len(values)))
    quantile = t_quantile(CONFIDENCE, count - 1) if count > 1 else math.inf
    low, high = _wilson(centre, size, quantile) if count > 1 else (0.0, 1.0)
    return Estimate(centre, low, high, count, "Wilson interval, clustered standard error")


def mean(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean with a t interval; with `clusters`, the standard error allows values of one cluster to be alike.

    Source: Miller 2024, arXiv 2411.00640, equation 4, with the small-sample factor C/(C-1) and C-1 degrees of freedom
    for C clusters; with clusters of equal size this is the t interval of the clusters' means.
    """
    alone = clusters is None
    centre, error, count = _clustered(values, range(len(values)) if clusters is None else clusters)
    method = "t interval" if alone else "t interval, clustered standard error"
    if count == 1:
        return Estimate(centre, -math.inf, math.inf, 1, method)
    half = t_quantile(CONFIDENCE, count - 1) * error
    return Estimate(centre, centre - half, centre + half, count, method)


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """Mean of after - before over the same prompts, one number a prompt, with a t interval.

    Source: Miller 2024, arXiv 2411.00640, section 4: the pairing removes what the prompts have in common.
    """
    found = mean([new - old for old, new in zip(before, after, strict=True)])
    if found.n > 1 and found.low == found.high:  # all differences are equal: a spread of 0 is not to be believed
        return Estimate(found.value, -math.inf, math.inf, found.n, "unknown: every pair differs alike")
    return Estimate(found.value, found.low, found.high, found.n, "t interval of paired differences")


def paired_proportion_difference(before: Sequence[bool], after: Sequence[bool]) -> Estimate:
    """Share that passes after, minus before, over the same prompts.

    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37(4): a Wald interval after adding
    one to each kind of disagreement, which keeps its coverage with few or no disagreements.
    """
    lost, won, n = _discordant(before, after)
    p_won, p_lost = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    centre = p_won - p_lost
    half = normal_quantile(CONFIDENCE) * math.sqrt((p_won + p_lost - centre**2) / (n + 2))
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Estimate((won - lost) / n, low, high, n, "Bonett-Price interval of paired proportions")


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar:
    """McNemar's test: exact below 25 disagreements, else chi-square with Edwards' continuity correction."""
    lost, won, _ = _discordant(before, after)
    if lost + won < _FEW_DISCORDANT:
        return McNemar(lost, won, sign_test(lost, won), "exact binomial")
    statistic = max(0, abs(lost - won) - 1) ** 2 / (lost + won)
    return McNemar(lost, won, chi_square_tail(statistic), "chi-square, continuity corrected")


def win_rate(outcomes: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Share of comparisons won, a tie counting one half. Outcomes are from 0 (lost) to 1 (won)."""
    return clustered_proportion(outcomes, range(len(outcomes)) if clusters is None else clusters)


def _clustered(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float, int]:
    """Mean, its cluster-robust standard error, and the number of clusters."""
    if not values:
        raise ValueError("no values to estimate from")
    if not all(math.isfinite(value) for value in values):
        raise ValueError("cannot estimate from values that are not finite")
    centre = math.fsum(values) / len(values)
    residuals: dict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - centre
    count = len(residuals)
    spread = math.fsum(residual**2 for residual in residuals.values())
    factor = count / (count - 1) if count > 1 else 1.0
    return centre, math.sqrt(factor * spread) / len(values), count


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and 1 the exact bound is the share itself; rounding must not put the share outside its own interval.
    low = 0.0 if share <= 0.0 else max(0.0, centre - half)
    high = 1.0 if share >= 1.0 else min(1.0, centre + half)
    return low, high


def _discordant(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, int]:
    """How many passed only before, how many only after, of how many."""
    pairs = list(zip(before, after, strict=True))
    if not pairs:
        raise ValueError("no pairs to compare")
    lost = sum(old and not new for old, new in pairs)
    won = sum(new and not old for old, new in pairs)
    return lost, won, len(pairs)
