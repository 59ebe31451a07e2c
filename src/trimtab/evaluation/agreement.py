"""How far annotators agree, and how accurate anything that learns from them can look.

Units are the things judged; each holds the ratings it received, `None` where an annotator gave none. Intervals resample
units (Zapf, Castell, Morawietz and Karch 2016, BMC Medical Research Methodology 16:93).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.evaluation.statistics import CONFIDENCE, Estimate, clustered_proportion

Rating = float | str | bool
Units = Sequence[Sequence[Rating | None]]
Level = Literal["nominal", "ordinal", "interval"]
Array = NDArray[np.float64]

_REPLICATES = 2000


def pairwise_agreement(units: Units) -> Estimate:
    """Share of pairs of ratings of the same unit that are equal; the interval is clustered by unit."""
    agree: list[float] = []
    owner: list[int] = []
    for index, unit in enumerate(units):
        given = _given(unit)
        for first in range(len(given)):
            for second in range(first):
                agree.append(float(given[first] == given[second]))
                owner.append(index)
    if not agree:
        raise ValueError("no unit was rated twice, so agreement is unknown")
    return clustered_proportion(agree, owner)


def fleiss_kappa(units: Units, *, seed: int = 0) -> Estimate:
    """Agreement of unnamed annotators beyond chance, on categories; every unit has the same number of ratings.

    Source: Fleiss 1971: P_i = (Σ n_ij² - n) / (n (n - 1)); kappa = (mean P_i - Σ p_j²) / (1 - Σ p_j²).
    """
    counts = _counts(units, _categories(units))
    ratings = counts.sum(1)
    if len({*ratings.tolist()}) != 1 or ratings[0] < 2:
        raise ValueError("Fleiss' kappa needs the same number of ratings, at least two, for every unit")
    n = ratings[0]
    observed = ((counts**2).sum(1) - n) / (n * (n - 1))

    def kappa(weights: Array) -> float:
        expected = float(((weights @ counts / (weights.sum() * n)) ** 2).sum())
        return math.nan if expected == 1.0 else (float(weights @ observed / weights.sum()) - expected) / (1 - expected)

    return _bootstrap(kappa, len(counts), "Fleiss' kappa, bootstrap over units", seed)


def krippendorff_alpha(units: Units, level: Level = "nominal", *, seed: int = 0) -> Estimate:
    """Agreement beyond chance with any number of annotators and missing ratings: 1 - observed / expected disagreement.

    Units with fewer than two ratings are left out, as they hold no pair. Ordinal and interval ratings are numbers.
    Source: Krippendorff 2011, 'Computing Krippendorff's Alpha-Reliability': o_ck = Σ_u pairs_u(c, k) / (m_u - 1).
    """
    rated = [unit for unit in units if len(_given(unit)) > 1]
    categories = _categories(rated)
    counts = _counts(rated, categories)
    # A unit's part of the coincidence matrix is n_c n_k / (m - 1), and n_c (n_c - 1) / (m - 1) on the diagonal.
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(len(categories))
    pairs[:, diagonal, diagonal] -= counts
    coincidences = pairs / (counts.sum(1) - 1.0)[:, None, None]

    def alpha(weights: Array) -> float:
        total = np.tensordot(weights, coincidences, axes=1)
        marginal = total.sum(1)
        distance = _squared_distance(marginal, categories, level)
        expected = float((np.outer(marginal, marginal) * distance).sum()) / (marginal.sum() - 1)
        return math.nan if expected == 0.0 else 1 - float((total * distance).sum()) / expected

    return _bootstrap(alpha, len(rated), f"Krippendorff's alpha ({level}), bootstrap over units", seed)


def ceiling_accuracy(agreement: Estimate) -> Estimate:
    """The accuracy a perfect judge would show against single annotators who agree this often with one another.

    Two annotators who are independently right with probability q agree with probability p = q² + (1 - q)², so
    q = (1 + sqrt(2p - 1)) / 2. Agreement of one half or less gives one half: the labels are no better than coins.
    """
    value, low, high = (
        (1 + math.sqrt(max(0.0, 2 * p - 1))) / 2 for p in (agreement.value, agreement.low, agreement.high)
    )
    return Estimate(value, low, high, agreement.n, "from pairwise agreement, annotators independently right")


def _given(unit: Sequence[Rating | None]) -> list[Rating]:
    return [rating for rating in unit if rating is not None]


def _categories(units: Units) -> list[Any]:
    found: set[Any] = {rating for unit in units for rating in _given(unit)}
    if not found:
        raise ValueError("no unit was rated twice, so agreement is unknown")
    return sorted(found)


def _counts(units: Units, categories: Sequence[Any]) -> Array:
    """How often each unit (row) received each category (column)."""
    tallies = [Counter(_given(unit)) for unit in units]
    return np.array([[tally[category] for category in categories] for tally in tallies], dtype=np.float64)


def _squared_distance(marginal: Array, values: Sequence[Any], level: Level) -> Array:
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        numbers = np.array(values, dtype=np.float64)
        return (numbers[:, None] - numbers[None, :]) ** 2
    # Ordinal: the number of ratings from c to k, less half of those at the two ends.
    middle = np.cumsum(marginal) - marginal / 2
    return (middle[:, None] - middle[None, :]) ** 2


def _bootstrap(statistic: Callable[[Array], float], size: int, method: str, seed: int) -> Estimate:
    """A statistic of how often each unit counts, with its percentile interval over resampled units.

    Resamples in which all ratings are one category say nothing and are passed over.
    """
    value = statistic(np.ones(size))
    if math.isnan(value):
        raise ValueError("all ratings are the same category: agreement beyond chance is not defined")
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(size, np.full(size, 1 / size), size=_REPLICATES).astype(np.float64)
    low, high = np.nanquantile([statistic(row) for row in weights], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), size, method)
