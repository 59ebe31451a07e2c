"""Mean, biased variance, whitening and explained variance of a list of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def variance(numbers: Sequence[float]) -> float:
    return mean([(number - mean(numbers)) ** 2 for number in numbers])


def whiten(numbers: Sequence[float], shift_mean: bool) -> list[float]:
    """The N-details' whitening: biased variance, 1e-8 under the root; the mean comes back unless it is shifted out."""
    centre, spread = mean(numbers), math.sqrt(variance(numbers) + 1e-8)
    return [(number - centre) / spread + (0.0 if shift_mean else centre) for number in numbers]


def explained_variance(values: Sequence[float], returns: Sequence[float]) -> float:
    errors = [target - value for value, target in zip(values, returns, strict=True)]
    return 1 - variance(errors) / variance(returns)
