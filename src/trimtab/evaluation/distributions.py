"""Quantiles and tail probabilities of the few distributions that intervals need, without SciPy."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_MANY_DEGREES = 300


def normal_quantile(confidence: float) -> float:
    """z with P(|Z| <= z) = confidence; 1.96 for 0.95."""
    return NormalDist().inv_cdf((1.0 + confidence) / 2.0)


@lru_cache(maxsize=256)
def t_quantile(confidence: float, degrees: int) -> float:
    """t with P(|T| <= t) = confidence for Student's T with a whole number of degrees of freedom.

    Below 300 degrees the exact finite sum (Abramowitz and Stegun 26.7.3 and 26.7.4) is solved by bisection; above, the
    expansion around the normal quantile (26.7.5) is accurate to better than 1e-9.
    """
    if degrees < 1 or not 0.0 < confidence < 1.0:
        raise ValueError(f"no t quantile for confidence {confidence} and {degrees} degrees of freedom")
    if degrees >= _MANY_DEGREES:
        return _t_expansion(normal_quantile(confidence), degrees)
    # t = sqrt(degrees) * tan(angle): the angle is bounded, so plain bisection reaches full precision.
    low, high = 0.0, math.pi / 2
    for _ in range(80):
        middle = (low + high) / 2
        if _t_central(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def sign_test(first: int, second: int) -> float:
    """Two-sided exact probability of a split at least as uneven as first : second when both are equally likely."""
    trials = first + second
    tail = sum(math.comb(trials, k) for k in range(min(first, second) + 1))
    return float(min(1.0, 2 * tail / 2**trials))


def chi_square_tail(value: float) -> float:
    """P(X >= value) for chi-square with one degree of freedom."""
    return math.erfc(math.sqrt(value / 2.0))


def _t_central(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) * tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if degrees % 2 == 0:
        return sine * _cosine_sum(cosine, 1, degrees - 2)
    rest = sine * cosine * _cosine_sum(cosine, 2, degrees - 3) if degrees > 1 else 0.0
    return 2.0 / math.pi * (angle + rest)


def _cosine_sum(cosine: float, numerator: int, last_power: int) -> float:
    """1 + a cos² + a b cos⁴ + ...: factors 1/2, 3/4, ... when numerator is 1, and 2/3, 4/5, ... when it is 2."""
    total = term = 1.0
    for _ in range(last_power // 2):
        term *= cosine * cosine * numerator / (numerator + 1)
        total += term
        numerator += 2
    return total


def _t_expansion(z: float, degrees: int) -> float:
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    g4 = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + g1 / degrees + g2 / degrees**2 + g3 / degrees**3 + g4 / degrees**4
