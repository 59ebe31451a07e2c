from __future__ import annotations

import math

import pytest

from trimtab.evaluation.format import (
    Unit,
    change_estimate_text,
    change_text,
    estimate_text,
    interval_text,
    value_text,
)
from trimtab.evaluation.statistics import Estimate


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.814, "share", "81 %"),
        (0.025, "share", "3 %"),
        (1.0, "share", "100 %"),
        (-1.204, "score", "−1.20"),
        (-0.004, "score", "0.00"),
        (34.52, "tokens", "34.5 tokens"),
    ],
)
def test_values(value: float, unit: Unit, text: str) -> None:
    assert value_text(value, unit) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.73, "share", "+73 points"),
        (-0.031, "share", "−3 points"),
        (0.001, "share", "0 points"),
        (0.5, "score", "+0.50"),
        (-4.0, "tokens", "−4.0 tokens"),
    ],
)
def test_changes_have_a_sign(value: float, unit: Unit, text: str) -> None:
    assert change_text(value, unit) == text


def test_estimates_show_their_interval() -> None:
    found = Estimate(0.1, -0.02, 0.22, 40, "x")
    assert estimate_text(Estimate(0.8, 0.71, 0.88, 40, "x"), "share") == "80 % (71 to 88)"
    assert change_estimate_text(found, "share") == "+10 points (−2 to +22)"


def test_an_unknown_interval_says_so() -> None:
    assert interval_text(Estimate(1.0, -math.inf, math.inf, 1, "x"), "score") == "unknown"
