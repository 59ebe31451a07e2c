"""How far choices lean to length, beyond what people's choices on the same comparisons explain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.evaluation.distributions import t_quantile
from trimtab.evaluation.statistics import CONFIDENCE, Estimate

Array = NDArray[np.float64]

_STEPS = 50
_CLOSE = 1e-9


def length_slope(
    choices: Sequence[float], people: Sequence[float], doublings: Sequence[float], clusters: Sequence[Hashable]
) -> Estimate | None:
    """Log-odds that a response is chosen gains from being twice as long, at equal choices of people.

    For each comparison of a first with a second response: `choices` 1 where the first is chosen, 0 where the second
    is, `people` +1 or -1 for the one that people prefer, `doublings` log2 of the first's length over the second's. The
    slope b of the logistic regression logit P(choice) = a people + b doublings, which has no constant since exchanging
    the responses turns all signs; sandwich interval by cluster. None where it is not defined, as when choices are those
    of people throughout. Source: Dubois et al. 2024, arXiv 2404.04475, for length as a term of such a regression.
    """
    inputs = np.column_stack([np.asarray(doublings, float), np.asarray(people, float)])
    outcomes = np.asarray(choices, float)
    count = len(set(clusters))
    if count < 3:
        return None
    coefficients = np.zeros(2)
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-inputs @ coefficients))
        curvature = (inputs * (expected * (1 - expected))[:, None]).T @ inputs
        if np.linalg.cond(curvature) > 1 / _CLOSE:
            return None
        step = np.linalg.solve(curvature, inputs.T @ (outcomes - expected))
        coefficients += step
        if np.abs(step).max() < _CLOSE:
            return _estimate(coefficients, inputs, outcomes, clusters)
    return None


def _estimate(coefficients: Array, inputs: Array, outcomes: Array, clusters: Sequence[Hashable]) -> Estimate:
    expected = 1 / (1 + np.exp(-inputs @ coefficients))
    inverse = np.linalg.inv((inputs * (expected * (1 - expected))[:, None]).T @ inputs)
    by_cluster: dict[Hashable, Array] = defaultdict(lambda: np.zeros(2))
    for row, residual, cluster in zip(inputs, outcomes - expected, clusters, strict=True):
        by_cluster[cluster] += row * residual
    count = len(by_cluster)
    scores = np.array(list(by_cluster.values()))
    variance = inverse @ (scores.T @ scores * count / (count - 1)) @ inverse
    half = t_quantile(CONFIDENCE, count - 1) * float(np.sqrt(variance[0, 0]))
    slope = float(coefficients[0])
    return Estimate(slope, slope - half, slope + half, count, "logistic regression, sandwich interval by prompt")
