from __future__ import annotations

import math
import random
from typing import Any

import krippendorff
import numpy as np
import pytest

from trimtab.evaluation.agreement import (
    Level,
    ceiling_accuracy,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    pairwise_agreement,
)
from trimtab.evaluation.statistics import Estimate


def test_pairwise_agreement_counts_pairs_of_the_same_unit() -> None:
    # a a b: one of three pairs agrees. c c: one of one. A single rating holds no pair.
    found = pairwise_agreement([["a", "a", "b"], ["c", "c"], ["a"], ["b", None]])
    assert found.value == pytest.approx(2 / 4)
    assert found.n == 2


def test_cohen_kappa_of_two_by_hand() -> None:
    # Both yes 20, only ann 5, only bo 10, both no 15: p_o = 35/50. Ann says yes to 25 of 50, bo to 30, so
    # p_e = 0.5 x 0.6 + 0.5 x 0.4 = 0.5, and kappa = 0.2 / 0.5.
    counts = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    units = [{"ann": ann, "bo": bo} for (ann, bo), count in counts.items() for _ in range(count)]
    found = cohen_kappa([*units, {"ann": "yes"}])
    assert found.value == pytest.approx(0.4)
    assert found.n == 50
    # Cohen 1960, equation 10: the standard error is about sqrt(p_o (1 - p_o) / n) / (1 - p_e) = 0.13.
    assert (found.low, found.high) == pytest.approx((0.4 - 1.96 * 0.13, 0.4 + 1.96 * 0.13), abs=0.03)


def test_cohen_kappa_of_three_averages_agreement_and_chance_over_pairs() -> None:
    # Pairs agree in 3, 2 and 3 of four units: p_o = 8/12. Ann says x to 3/4, bo to 2/4, cy to 1/4, so chance is
    # 1/2 (ann, bo), 3/8 (ann, cy) and 1/2 (bo, cy): p_e = 11/24. kappa = (16 - 11) / (24 - 11).
    units = [{"ann": ann, "bo": bo, "cy": cy} for ann, bo, cy in ("xxy", "yyy", "xyy", "xxx")]
    assert cohen_kappa(units).value == pytest.approx(5 / 13)


def test_cohen_kappa_weighs_pairs_by_the_units_they_share() -> None:
    # Ann and bo share three units and agree in two, ann and cy share one and agree: p_o = 3/4. In units that are shared
    # ann says x to 1/4, bo to 2/3, cy to none. Chance is 1/4 x 2/3 + 3/4 x 1/3 = 5/12 for ann and bo, counted three
    # times, and 3/4 for ann and cy: p_e = (15/12 + 3/4) / 4 = 1/2.
    units = [{"ann": "x", "bo": "x"}, {"ann": "y", "bo": "x"}, {"ann": "y", "bo": "y"}, {"ann": "y", "cy": "y"}]
    assert cohen_kappa([*units, {"cy": "x"}]).value == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))


def test_fleiss_kappa_by_hand() -> None:
    # P_i = (2²+1²-3)/6 = 1/3, (3²-3)/6 = 1, 1/3, so 5/9. Shares 4/9 and 5/9, so chance is 41/81.
    # kappa = (45 - 41) / (81 - 41) = 1/10.
    assert fleiss_kappa([["a", "a", "b"], ["b", "b", "b"], ["a", "b", "a"]]).value == pytest.approx(0.1)


def test_fleiss_kappa_needs_equally_many_ratings() -> None:
    with pytest.raises(ValueError, match="same number of ratings"):
        fleiss_kappa([["a", "a"], ["a", "b", "b"]])


def test_krippendorff_alpha_by_hand() -> None:
    # Pairs: o_aa = 2, o_bb = 2, o_ab = o_ba = 1; n_a = n_b = 3, n = 6. D_o = 2/6; D_e = 2 (3 x 3) / (6 x 5) = 0.6.
    units = [["a", "a"], ["a", "b"], ["b", "b"], [None, "a"]]
    assert krippendorff_alpha(units).value == pytest.approx(1 - (1 / 3) / 0.6)
    assert krippendorff_alpha(units).n == 3


def test_krippendorff_alpha_weighs_distance() -> None:
    # Interval, units (1, 1) and (1, 3): n_1 = 3, n_3 = 1, n = 4. D_o = 2 (2²) / 4 = 2; D_e = 2 (3 x 1 x 4) / 12 = 2.
    assert krippendorff_alpha([[1, 1], [1, 3]], "interval").value == pytest.approx(0.0)


def test_krippendorff_alpha_on_ranks() -> None:
    # n_1, n_2, n_3 = 3, 2, 1. Squared distances: 1-2 (5 - 2.5)² = 6.25, 2-3 (3 - 1.5)² = 2.25, 1-3 (6 - 2)² = 16.
    # D_o = 2 (6.25 + 2.25) / 6 = 17/6; D_e = 2 (6 x 6.25 + 2 x 2.25 + 3 x 16) / 30 = 6.
    assert krippendorff_alpha([[1, 2], [2, 3], [1, 1]], "ordinal").value == pytest.approx(1 - 17 / 36)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(3))
def test_krippendorff_alpha_against_the_package(level: Level, seed: int) -> None:
    rng = random.Random(seed)
    units: list[list[Any]] = []
    for _ in range(25):
        truth = rng.randint(1, 7)
        rated = [min(7, max(1, truth + rng.choice([-2, -1, 0, 0, 0, 1]))) for _ in range(4)]
        units.append([None if rng.random() < 0.3 else rating for rating in rated])
    by_annotator = [[math.nan if rating is None else rating for rating in row] for row in zip(*units, strict=True)]
    oracle = krippendorff.alpha(reliability_data=by_annotator, level_of_measurement=level)
    found = krippendorff_alpha(units, level)
    assert found.value == pytest.approx(oracle, rel=1e-9)
    assert found.low < found.value < found.high


def test_perfect_agreement_is_one_and_chance_is_about_zero() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b"]] * 5).value == 1.0
    rng = random.Random(1)
    found = krippendorff_alpha([[rng.choice("ab"), rng.choice("ab")] for _ in range(400)])
    assert found.low < 0.0 < found.high


def test_agreement_is_the_same_for_the_same_seed() -> None:
    units = [["a", "a", "b"], ["b", "b", "b"], ["a", "b", "a"]]
    assert fleiss_kappa(units, seed=4) == fleiss_kappa(units, seed=4)


def test_units_of_a_cluster_are_resampled_together() -> None:
    # Every unit twice, as one cluster: nothing is known beyond the units themselves.
    rng = random.Random(5)
    units = [[rng.choice("aab"), rng.choice("abb")] for _ in range(30)]
    owners = [index for index in range(30) for _ in range(2)]
    twice = [units[index] for index in owners]
    assert fleiss_kappa(twice, owners) == fleiss_kappa(units)
    assert fleiss_kappa(twice).high - fleiss_kappa(twice).low < 0.8 * (
        fleiss_kappa(units).high - fleiss_kappa(units).low
    )
    named = [{"ann": first, "bo": second} for first, second in units]
    together, alone = cohen_kappa([named[index] for index in owners], owners), cohen_kappa(named)
    assert (together.value, together.low, together.high) == pytest.approx((alone.value, alone.low, alone.high))
    alpha = krippendorff_alpha(twice, "nominal", owners)
    assert alpha.value == krippendorff_alpha(twice).value
    assert alpha.n == 30
    assert pairwise_agreement(twice, owners).low == pytest.approx(pairwise_agreement(units).low)


def test_the_interval_is_that_of_resampled_units() -> None:
    # The plain bootstrap: draw 60 units, compute alpha with another package, again and again.
    rng = random.Random(6)
    units = [[rng.choice("aaab"), rng.choice("aabb"), rng.choice("abbb")] for _ in range(60)]
    drawn = []
    for _ in range(400):
        columns = zip(*rng.choices(units, k=60), strict=True)
        values = [[float(rating == "b") for rating in column] for column in columns]
        drawn.append(krippendorff.alpha(reliability_data=values, level_of_measurement="nominal"))
    found = krippendorff_alpha(units)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.04)


def test_agreement_that_is_not_defined() -> None:
    with pytest.raises(ValueError, match="same category"):
        krippendorff_alpha([["a", "a"], ["a", "a"]])
    with pytest.raises(ValueError, match="same category"):
        cohen_kappa([{"ann": "a", "bo": "a"}])
    with pytest.raises(ValueError, match="rated twice"):
        cohen_kappa([{"ann": "a"}, {"bo": "b"}])
    for call in (krippendorff_alpha, pairwise_agreement):
        with pytest.raises(ValueError, match="rated twice"):
            call([["a"], [None, "b"]])


def test_ceiling_accuracy() -> None:
    # 0.68: (1 + sqrt(0.36)) / 2 = 0.8, and indeed 0.8² + 0.2² = 0.68. At one half and below labels are coins.
    found = ceiling_accuracy(Estimate(0.68, 0.4, 1.0, 50, "x"))
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.5, 1.0))
    assert found.n == 50
