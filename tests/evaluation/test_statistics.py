from __future__ import annotations

import json
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.evaluation.statistics import (
    Estimate,
    clustered_proportion,
    mcnemar,
    mean,
    paired_difference,
    paired_proportion_difference,
    proportion,
    win_rate,
)


def bounds(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def test_wilson_interval() -> None:
    # 8 of 10: (0.8 + z²/20) / (1 + z²/10) ± z / (1 + z²/10) sqrt(0.016 + z²/400), z² = 3.841459.
    found = proportion(8, 10)
    assert found.value == 0.8
    assert bounds(found) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    assert found.n == 10


def test_wilson_interval_at_the_ends() -> None:
    # None of n: from 0 to z² / (n + z²).
    assert bounds(proportion(0, 20)) == pytest.approx((0.0, 3.841459 / 23.841459), abs=1e-7)
    assert bounds(proportion(20, 20)) == pytest.approx((20 / 23.841459, 1.0), abs=1e-7)


def test_mean_has_the_t_interval() -> None:
    # Standard deviation sqrt(2.5), standard error sqrt(0.5), t(4) = 2.776445.
    assert bounds(mean([1, 2, 3, 4, 5])) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-5)


def test_clusters_of_equal_size_give_the_t_interval_of_their_means() -> None:
    # Means 1 and 0: standard error 1/2, t(1) = 12.70620.
    found = mean([1, 1, 0, 0], ["a", "a", "b", "b"])
    assert bounds(found) == pytest.approx((0.5 - 6.35310, 0.5 + 6.35310), abs=1e-4)
    assert found.n == 2


def test_clusters_of_unequal_size() -> None:
    # Mean 3; residuals a: -2 - 1, b: 3; sum of squares 18, times 2/1; standard error sqrt(36) / 3 = 2.
    assert mean([1, 2, 6], ["a", "a", "b"]).high == pytest.approx(3 + 2 * 12.70620, abs=1e-4)


def test_one_cluster_says_nothing_about_the_spread() -> None:
    assert bounds(mean([1.0, 2.0], ["a", "a"])) == (-math.inf, math.inf)
    assert bounds(clustered_proportion([1.0, 1.0], ["a", "a"])) == (0.0, 1.0)


def test_paired_difference() -> None:
    # Differences 1, 2, 0: mean 1, standard error 1/sqrt(3), t(2) = 4.302653.
    found = paired_difference([1, 2, 3], [2, 4, 3])
    assert bounds(found) == pytest.approx((1 - 2.484138, 1 + 2.484138), abs=1e-5)


def before_after(lost: int, won: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * lost + [False] * won + [True] * both + [False] * neither
    after = [False] * lost + [True] * won + [True] * both + [False] * neither
    return before, after


def test_paired_proportion_difference() -> None:
    # 1 lost, 7 won of 20: 8/22 - 2/22 ± 1.959964 sqrt((10/22 - (6/22)²) / 22) = 0.272727 ± 0.257646.
    found = paired_proportion_difference(*before_after(1, 7, 8, 4))
    assert found.value == pytest.approx(0.3)
    assert bounds(found) == pytest.approx((0.015081, 0.530373), abs=2e-6)


def test_no_disagreement_is_not_certainty() -> None:
    found = paired_proportion_difference([True] * 98, [True] * 98)
    # ± 1.959964 sqrt(2/100 / 100)
    assert bounds(found) == pytest.approx((-0.0277181, 0.0277181), abs=1e-6)


def test_mcnemar_is_exact_with_few_disagreements() -> None:
    found = mcnemar(*before_after(1, 7, 5, 5))
    assert (found.only_before, found.only_after) == (1, 7)
    assert found.p_value == 18 / 256
    assert "exact" in found.method


def test_mcnemar_uses_chi_square_with_many_disagreements() -> None:
    # (|10 - 25| - 1)² / 35 = 5.6; the tail is 2 (1 - Phi(sqrt 5.6)) = 0.0179605.
    found = mcnemar(*before_after(10, 25, 0, 9))
    assert found.p_value == pytest.approx(0.01796, abs=5e-6)
    assert "chi-square" in found.method


def test_mcnemar_with_an_even_split_finds_nothing() -> None:
    assert mcnemar(*before_after(15, 15, 0, 0)).p_value == 1.0


def test_win_rate_without_ties_is_wilson() -> None:
    # Without clusters the effective size is p(1-p) / (p(1-p)/(n-1)) = n - 1, and t(9) stands for z.
    found = win_rate([1.0] * 8 + [0.0] * 2)
    z2, n = 2.262157**2, 9
    centre = (0.8 + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2) / (1 + z2 / n) * math.sqrt(0.16 / n + z2 / (4 * n * n))
    assert bounds(found) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_ties_count_one_half() -> None:
    assert win_rate([1.0, 0.5, 0.5, 0.0, 1.0]).value == pytest.approx(0.6)


def test_all_wins_is_not_certainty() -> None:
    assert win_rate([1.0] * 30).low < 0.9
    assert win_rate([1.0] * 30).high == 1.0


def test_copies_of_an_answer_add_no_certainty() -> None:
    outcomes = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    once = win_rate(outcomes, range(6))
    copied = win_rate([one for one in outcomes for _ in range(5)], [index for index in range(6) for _ in range(5)])
    assert bounds(copied) == pytest.approx(bounds(once))
    assert copied.n == 6


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_mirrors_and_holds_its_value(counts: tuple[int, int]) -> None:
    hits, n = counts
    found, mirror = proportion(hits, n), proportion(n - hits, n)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert bounds(found) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_paired_difference_of_proportions_mirrors_and_holds_its_value(pairs: list[tuple[bool, bool]]) -> None:
    before, after = [one for one, _ in pairs], [one for _, one in pairs]
    found, mirror = paired_proportion_difference(before, after), paired_proportion_difference(after, before)
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0
    assert bounds(found) == pytest.approx((-mirror.high, -mirror.low), abs=1e-12)


@pytest.mark.parametrize("call", [lambda: mean([]), lambda: proportion(0, 0), lambda: mcnemar([], [])])
def test_nothing_cannot_be_estimated(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="no "):
        call()


def test_what_is_not_finite_cannot_be_estimated() -> None:
    with pytest.raises(ValueError, match="not finite"):
        mean([1.0, math.nan])


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])


def test_estimates_survive_json_even_without_an_interval() -> None:
    for found in (mean([1.0, 2.0, 4.0]), mean([3.0])):
        text = json.dumps(found.to_json(), allow_nan=False)
        assert Estimate.from_json(json.loads(text)) == found


def test_estimates_read_plainly() -> None:
    assert str(Estimate(0.8, 0.49, 0.943, 10, "x")) == "0.8 [0.49, 0.943] (n = 10)"


def covered(draw: Callable[[random.Random], tuple[Estimate, float]], runs: int = 1500) -> float:
    """How often the interval holds the truth. With 1500 runs the standard error at 95 % is 0.6 %."""
    rng = random.Random(17)
    hits = 0
    for _ in range(runs):
        estimate, truth = draw(rng)
        hits += estimate.low <= truth <= estimate.high
    return hits / runs


def draw_mean(rng: random.Random) -> tuple[Estimate, float]:
    return mean([rng.gauss(2, 3) for _ in range(8)]), 2


def draw_clustered_mean(rng: random.Random) -> tuple[Estimate, float]:
    centres = [rng.gauss(0, 1) for _ in range(15) for _ in range(4)]
    centres = [centre for centre in centres[::4] for _ in range(4)]
    return mean([rng.gauss(centre, 1) for centre in centres], [index // 4 for index in range(60)]), 0


def draw_proportion(rng: random.Random) -> tuple[Estimate, float]:
    # At a single share the coverage swings by a few points either way, as counts are whole; over shares it evens out.
    share = rng.uniform(0.1, 0.9)
    return proportion(sum(rng.random() < share for _ in range(60)), 60), share


def draw_clustered_proportion(rng: random.Random) -> tuple[Estimate, float]:
    shares = [rng.betavariate(1.2, 0.8) for _ in range(30)]
    return win_rate(
        [float(rng.random() < share) for share in shares for _ in range(4)], [i // 4 for i in range(120)]
    ), 0.6


def draw_paired_proportions(rng: random.Random) -> tuple[Estimate, float]:
    pairs = [rng.choices([(True, False), (False, True), (True, True)], [0.1, 0.3, 0.6])[0] for _ in range(60)]
    return paired_proportion_difference([old for old, _ in pairs], [new for _, new in pairs]), 0.2


@pytest.mark.parametrize(
    "draw", [draw_mean, draw_clustered_mean, draw_proportion, draw_clustered_proportion, draw_paired_proportions]
)
def test_intervals_hold_the_truth_95_times_in_100(draw: Callable[[random.Random], tuple[Estimate, float]]) -> None:
    assert covered(draw) == pytest.approx(0.95, abs=0.02)


def test_ignoring_clusters_would_promise_too_much() -> None:
    def ignoring(rng: random.Random) -> tuple[Estimate, float]:
        values = [rng.gauss(centre, 0.2) for centre in [rng.gauss(0, 1) for _ in range(15)] for _ in range(4)]
        return mean(values), 0

    assert covered(ignoring, 500) < 0.75
