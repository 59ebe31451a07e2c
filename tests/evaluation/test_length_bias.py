from __future__ import annotations

import math

import pytest

from trimtab.evaluation.length_bias import length_slope


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_the_slope_is_half_the_difference_of_log_odds() -> None:
    """Two kinds of comparisons, both with the first response preferred by people: twice as long, half as long.

    The model has a parameter a kind, so it fits both shares: a + b = logit(8/10), a - b = logit(6/10). With every
    comparison a cluster, Var(logit p) = 1 / (n p (1 - p)) for each, and the sandwich has the factor 20/19.
    """
    choices = [1.0] * 8 + [0.0] * 2 + [1.0] * 6 + [0.0] * 4
    found = length_slope(choices, [1.0] * 20, [1.0] * 10 + [-1.0] * 10, range(20))
    assert found is not None
    assert found.value == pytest.approx((logit(0.8) - logit(0.6)) / 2, abs=1e-9)
    error = math.sqrt((1 / 1.6 + 1 / 2.4) / 4 * 20 / 19)
    assert found.high - found.value == pytest.approx(2.093024 * error, rel=1e-5)  # t of 19 degrees, 97.5 %
    assert found.n == 20


def test_exchanging_responses_changes_nothing() -> None:
    rows = [(1, 1, 0.5), (0, 1, -1.2), (1, -1, 2.0), (0, -1, 0.3), (1, 1, -0.4), (0, -1, -0.2), (0, 1, 0.9)]
    turned = [(1 - c, -p, -d) if n % 2 else (c, p, d) for n, (c, p, d) in enumerate(rows)]
    one, two = (length_slope(*zip(*given, strict=True), range(len(rows))) for given in (rows, turned))  # type: ignore[call-arg,arg-type,misc]
    assert one is not None
    assert two is not None
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))


def test_comparisons_of_one_prompt_count_once() -> None:
    choices = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    people, doublings = [1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0, 1.0], [1.0, -0.5, 0.3, 0.4, -1.0, 0.9, 0.2, -0.7]
    single = length_slope(choices, people, doublings, range(8))
    doubled = length_slope(choices * 2, people * 2, doublings * 2, [*range(8), *range(8)])
    assert single is not None
    assert doubled is not None
    assert (doubled.value, doubled.low) == (pytest.approx(single.value), pytest.approx(single.low))


def test_there_is_no_slope_where_it_is_not_defined() -> None:
    ends = [1.0, -1.0, 0.5, 2.0]
    assert length_slope([1, 0, 1, 0], [1, -1, 1, -1], ends, range(4)) is None  # the judge says what people say
    assert length_slope([1, 0, 1, 1], [1, 1, 1, -1], [0.0] * 4, range(4)) is None  # all as long as each other
    assert length_slope([1, 0], [1, 1], [1.0, -1.0], range(2)) is None
    assert length_slope([], [], [], []) is None
