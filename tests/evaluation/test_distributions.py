from __future__ import annotations

import math

import pytest
from scipy import stats

from trimtab.evaluation.distributions import chi_square_tail, normal_quantile, sign_test, t_quantile


@pytest.mark.parametrize(
    ("degrees", "table"),
    # Printed tables of Student's t, two-sided 95 %.
    [
        (1, 12.7062),
        (2, 4.30265),
        (3, 3.18245),
        (4, 2.77645),
        (5, 2.57058),
        (10, 2.22814),
        (30, 2.04227),
        (120, 1.97993),
    ],
)
def test_t_quantile_is_the_tables(degrees: int, table: float) -> None:
    assert t_quantile(0.95, degrees) == pytest.approx(table, rel=3e-6)


def test_t_quantile_has_closed_forms_for_one_and_two_degrees() -> None:
    # One degree is Cauchy: t = tan(pi c / 2). Two: t = c sqrt(2 / (1 - c²)).
    for c in (0.5, 0.8, 0.99):
        assert t_quantile(c, 1) == pytest.approx(math.tan(math.pi * c / 2), rel=1e-12)
        assert t_quantile(c, 2) == pytest.approx(c * math.sqrt(2 / (1 - c * c)), rel=1e-12)


def test_t_quantile_is_continuous_where_the_method_changes_and_ends_at_the_normal() -> None:
    before, at, after = (t_quantile(0.95, degrees) for degrees in (299, 300, 301))
    assert before > at > after
    assert (before - at) == pytest.approx(at - after, rel=0.02)
    assert t_quantile(0.95, 10**9) == pytest.approx(normal_quantile(0.95), rel=1e-8)


def test_t_quantile_against_scipy() -> None:
    for degrees in (1, 2, 3, 7, 8, 50, 299, 300, 5000):
        assert t_quantile(0.95, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


@pytest.mark.parametrize(("confidence", "degrees"), [(0.95, 0), (1.0, 3), (0.0, 3)])
def test_t_quantile_refuses_what_has_no_answer(confidence: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(confidence, degrees)


def test_sign_test_counts_both_tails() -> None:
    # 1 of 8: 2 (C(8,0) + C(8,1)) / 2^8 = 18 / 256. An even split is certain, and so is no split at all.
    assert sign_test(1, 7) == sign_test(7, 1) == 18 / 256
    assert sign_test(4, 4) == 1.0
    assert sign_test(0, 0) == 1.0


def test_chi_square_tail_is_the_tables() -> None:
    assert chi_square_tail(3.841459) == pytest.approx(0.05, abs=1e-7)
    assert chi_square_tail(6.634897) == pytest.approx(0.01, abs=1e-7)
