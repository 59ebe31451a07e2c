"""How far annotators agree, and how accurate anything that learns from them can look.

Units are the things judged; each holds the ratings it received, `None` where an annotator gave none. Intervals resample
units (Zapf, Castell, Morawietz and Karch 2016, BMC Medical Research Methodology 16:93); units of one cluster, such as
the pairs of one ranking, are resampled together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.evaluation.bootstrap import bootstrap
from trimtab.evaluation.statistics import Estimate, clustered_proportion

Rating = float | str | bool
Units = Sequence[Sequence[Rating | None]]
Level = Literal["nominal", "ordinal", "interval"]
Clusters = Sequence[Hashable] | None
Array = NDArray[np.float64]


def pairwise_agreement(units: Units, clusters: Clusters = None) -> Estimate:
    """Share of pairs of ratings of the same unit that are equal; the interval is clustered by unit or `clusters`."""
    agree: list[float] = []
    owner: list[Hashable] = []
    for index, unit in enumerate(units):
        for first, second in combinations(_given(unit), 2):
            agree.append(float(first == second))
            owner.append(index if clusters is None else clusters[index])
    if not agree:
        raise ValueError("no unit was rated twice, so agreement is unknown")
    return clustered_proportion(agree, owner)


def cohen_kappa(units: Sequence[Mapping[str, Rating]], clusters: Clusters = None, *, seed: int = 0) -> Estimate:
    """Agreement of named annotators beyond chance, on categories; each unit holds the annotators' ratings by name.

    Two annotators: (p_o - p_e) / (1 - p_e), where chance p_e comes from each one's own shares (Cohen 1960). Several:
    p_o and p_e are first averaged over pairs of annotators (Conger 1980, Psychological Bulletin 88(2)), a pair counting
    once for every unit both rated. Shares are those in units that somebody else rated too.
    """
    rated = [index for index, unit in enumerate(units) if len(unit) > 1]
    names = sorted({name for index in rated for name in units[index]})
    categories = _categories([list(units[index].values()) for index in rated])
    place = (
        {name: number for number, name in enumerate(names)},
        {name: number for number, name in enumerate(categories)},
    )
    owner, size = _owners(_picked(clusters, rated), len(rated))
    given: Counter[tuple[int, int]] = Counter()  # by cluster, and cell of the table annotators x categories
    paired: Counter[tuple[int, int]] = Counter()  # by cluster, and cell of the table annotators x annotators
    equal = np.zeros(size)
    for cluster, index in zip(owner.tolist(), rated, strict=True):
        ratings = [(place[0][name], place[1][rating]) for name, rating in units[index].items()]
        given.update((cluster, name * len(categories) + rating) for name, rating in ratings)
        for (name, rating), (other, its_rating) in combinations(ratings, 2):
            paired[cluster, name * len(names) + other] += 1
            equal[cluster] += rating == its_rating
    ratings_of = _table(given, len(names), len(categories))
    pairs_of = _table(paired, len(names), len(names))

    def kappa(weights: Array) -> float:
        ratings, together = ratings_of(weights), pairs_of(weights)
        shares = ratings / np.maximum(ratings.sum(1, keepdims=True), 1.0)
        expected = float((together * (shares @ shares.T)).sum() / together.sum())
        observed = float(weights @ equal / together.sum())
        return math.nan if math.isclose(expected, 1.0) else (observed - expected) / (1 - expected)

    return bootstrap(kappa, np.ones(size), "Cohen's kappa, averaged over pairs; bootstrap over units", seed)


def fleiss_kappa(units: Units, clusters: Clusters = None, *, seed: int = 0) -> Estimate:
    """Agreement of unnamed annotators beyond chance, on categories; every unit has the same number of ratings.

    Source: Fleiss 1971: P_i = (Σ n_ij² - n) / (n (n - 1)); kappa = (mean P_i - Σ p_j²) / (1 - Σ p_j²).
    """
    counts = _counts(units, _categories(units))
    ratings = counts.sum(1)
    if len({*ratings.tolist()}) != 1 or ratings[0] < 2:
        raise ValueError("Fleiss' kappa needs the same number of ratings, at least two, for every unit")
    n = ratings[0]
    observed = ((counts**2).sum(1, keepdims=True) - n) / (n * (n - 1))
    sums, sizes = _distinct_sums(np.hstack([counts, observed]), clusters)

    def kappa(weights: Array) -> float:
        *given, agreed = weights @ sums
        expected = float(((np.array(given) / sum(given)) ** 2).sum())
        return math.nan if expected == 1.0 else (agreed * n / sum(given) - expected) / (1 - expected)

    return bootstrap(kappa, sizes, "Fleiss' kappa, bootstrap over units", seed)


def krippendorff_alpha(units: Units, level: Level = "nominal", clusters: Clusters = None, *, seed: int = 0) -> Estimate:
    """Agreement beyond chance with any number of annotators and missing ratings: 1 - observed / expected disagreement.

    Units with fewer than two ratings are left out, as they hold no pair. Ordinal and interval ratings are numbers.
    Source: Krippendorff 2011, 'Computing Krippendorff's Alpha-Reliability': o_ck = Σ_u pairs_u(c, k) / (m_u - 1).
    """
    places = [index for index, unit in enumerate(units) if len(_given(unit)) > 1]
    rated = [units[index] for index in places]
    categories = _categories(rated)
    counts = _counts(rated, categories)
    # A unit's part of the coincidence matrix is n_c n_k / (m - 1), and n_c (n_c - 1) / (m - 1) on the diagonal.
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(len(categories))
    pairs[:, diagonal, diagonal] -= counts
    coincidences = pairs / (counts.sum(1) - 1.0)[:, None, None]
    sums, sizes = _distinct_sums(coincidences.reshape(len(rated), -1), _picked(clusters, places))

    def alpha(weights: Array) -> float:
        total = (weights @ sums).reshape(len(categories), -1)
        marginal = total.sum(1)
        distance = _squared_distance(marginal, categories, level)
        expected = float((np.outer(marginal, marginal) * distance).sum()) / (marginal.sum() - 1)
        return math.nan if expected == 0.0 else 1 - float((total * distance).sum()) / expected

    return bootstrap(alpha, sizes, f"Krippendorff's alpha ({level}), bootstrap over units", seed)


def ceiling_accuracy(agreement: Estimate) -> Estimate:
    """The accuracy a perfect judge would show against single annotators who agree this often with one another."""
    value, low, high = (ceiling(p) for p in (agreement.value, agreement.low, agreement.high))
    return Estimate(value, low, high, agreement.n, "from pairwise agreement, annotators independently right")


def ceiling(agreement: float) -> float:
    """How often each of two annotators is right who agree this often and err independently of one another.

    Two annotators who are independently right with probability q agree with probability p = q² + (1 - q)², so
    q = (1 + sqrt(2p - 1)) / 2. Agreement of one half or less gives one half: the labels are no better than coins.
    """
    return (1 + math.sqrt(max(0.0, 2 * agreement - 1))) / 2


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


def _picked(clusters: Clusters, places: Sequence[int]) -> Clusters:
    return None if clusters is None else [clusters[place] for place in places]


def _owners(clusters: Clusters, size: int) -> tuple[NDArray[np.intp], int]:
    """The number of each unit's cluster, and how many clusters there are. Without clusters every unit is one."""
    if clusters is None:
        return np.arange(size), size
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.intp), len(numbers)


def _table(tally: Mapping[tuple[int, int], int], rows: int, columns: int) -> Callable[[Array], Array]:
    """A table, given how often each cluster counts, of what is tallied by cluster and cell."""
    owner, cell = np.array(list(tally), dtype=np.intp).T
    numbers = np.array(list(tally.values()), dtype=np.float64)

    def table(weights: Array) -> Array:
        cells = np.bincount(cell, weights[owner] * numbers, rows * columns).astype(np.float64)
        return cells.reshape(rows, columns)

    return table


def _distinct_sums(rows: Array, clusters: Clusters) -> tuple[Array, Array]:
    """The units' rows added up by cluster: which sums there are, and how many clusters have each.

    To draw clusters is to draw how often each sum comes up, and there are far fewer sums than clusters.
    """
    owner, size = _owners(clusters, len(rows))
    sums = np.zeros((size, rows.shape[1]))
    np.add.at(sums, owner, rows)
    distinct, sizes = np.unique(sums, axis=0, return_counts=True)
    return distinct, sizes.astype(np.float64)


def _squared_distance(marginal: Array, values: Sequence[Any], level: Level) -> Array:
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        numbers = np.array(values, dtype=np.float64)
        return (numbers[:, None] - numbers[None, :]) ** 2
    # Ordinal: the number of ratings from c to k, less half of those at the two ends.
    middle = np.cumsum(marginal) - marginal / 2
    return (middle[:, None] - middle[None, :]) ** 2
