"""KL divergence of two categorical distributions, and Schulman's estimators at one sample."""

from __future__ import annotations

import math
from collections.abc import Sequence


def divergence(policy: Sequence[float], reference: Sequence[float]) -> float:
    """KL(policy || reference) = sum p log(p / q)."""
    return sum(p * math.log(p / q) for p, q in zip(policy, reference, strict=True))


def k1(policy_probability: float, reference_probability: float) -> float:
    return -math.log(reference_probability / policy_probability)


def k2(policy_probability: float, reference_probability: float) -> float:
    return math.log(reference_probability / policy_probability) ** 2 / 2


def k3(policy_probability: float, reference_probability: float) -> float:
    ratio = reference_probability / policy_probability
    return ratio - 1 - math.log(ratio)
