"""The bootstrap: intervals of statistics that are no means, by drawing units again and again."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trimtab.evaluation.statistics import CONFIDENCE, Estimate

Array = NDArray[np.float64]

_REPLICATES = 2000


def bootstrap(statistic: Callable[[Array], float], sizes: Array, method: str, seed: int) -> Estimate:
    """A statistic of how many units of each kind there are, with its percentile interval over resampled units.

    Where every unit is of a kind of its own, `sizes` are ones. Resamples in which the statistic is not a number, as
    agreement is not where all ratings are one category, are passed over. Source: Efron 1979, Annals of Statistics 7(1).
    """
    value = statistic(sizes)
    if math.isnan(value):
        raise ValueError("all ratings are the same category: agreement beyond chance is not defined")
    generator = np.random.default_rng(seed)
    size = int(sizes.sum())
    draws = (_draw(generator, size, sizes).astype(np.float64) for _ in range(_REPLICATES))
    low, high = np.nanquantile([statistic(draw) for draw in draws], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), size, method)


def _draw(generator: np.random.Generator, size: int, sizes: Array) -> NDArray[np.intp]:
    """How often each kind comes up when as many units as there are, are drawn with replacement."""
    if len(sizes) == size:  # every unit is of a kind of its own, for which a multinomial is twenty times slower
        return np.bincount(generator.integers(size, size=size), minlength=size)
    return generator.multinomial(size, sizes / size)
