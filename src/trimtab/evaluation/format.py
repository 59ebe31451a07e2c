"""Estimates as people read them: percent for shares, points for their differences, a sign on every difference."""

from __future__ import annotations

import math
from typing import Literal

from trimtab.evaluation.statistics import Estimate

Unit = Literal["share", "score", "bits", "tokens", "words"]

_DECIMALS: dict[Unit, int] = {"share": 0, "score": 2, "bits": 3, "tokens": 1, "words": 1}


def value_text(value: float, unit: Unit) -> str:
    """A value with its unit: 81 %, 1.20, 34.5 tokens."""
    return _with_unit(_number(value, unit), unit, "%")


def change_text(value: float, unit: Unit) -> str:
    """A difference with its sign and unit: +73 points, −0.12."""
    return _with_unit(_number(value, unit, sign=True), unit, "points")


def interval_text(estimate: Estimate, unit: Unit, *, change: bool = False) -> str:
    """The interval's ends: 71 to 88."""
    if not math.isfinite(estimate.low) or not math.isfinite(estimate.high):
        return "unknown"
    return f"{_number(estimate.low, unit, sign=change)} to {_number(estimate.high, unit, sign=change)}"


def estimate_text(estimate: Estimate, unit: Unit) -> str:
    """A value and its interval: 81 % (71 to 88)."""
    return f"{value_text(estimate.value, unit)} ({interval_text(estimate, unit)})"


def change_estimate_text(estimate: Estimate, unit: Unit) -> str:
    """A difference and its interval: +73 points (+61 to +82)."""
    return f"{change_text(estimate.value, unit)} ({interval_text(estimate, unit, change=True)})"


def _number(value: float, unit: Unit, *, sign: bool = False) -> str:
    scaled = 100 * value if unit == "share" else value
    decimals = _DECIMALS[unit]
    # Halves go up, as readers expect: 2.5 % is 3 %. The tiny addition undoes what binary fractions lose.
    whole = math.floor(abs(scaled) * 10**decimals + 0.5 + 1e-9)
    mark = "" if whole == 0 else "−" if scaled < 0 else "+" if sign else ""
    return f"{mark}{whole / 10**decimals:.{decimals}f}"


def _with_unit(number: str, unit: Unit, share_word: str) -> str:
    word = {"share": share_word, "score": "", "bits": "bits", "tokens": "tokens", "words": "words"}[unit]
    return f"{number} {word}" if word else number
