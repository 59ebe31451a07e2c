from __future__ import annotations

import math

import pytest

from trimtab.evaluation.annotators import Judgement, annotator, by_annotator, everyone
from trimtab.evaluation.scales import NORMS, Scale, agreement, agreement_with_others
from trimtab.evaluation.statistics import clustered_proportion, proportion


def judged(name: str, item: str, seconds: float = 10.0, **said: object) -> Judgement:
    return Judgement(name, item, seconds, **said)  # type: ignore[arg-type]


def test_one_annotators_numbers_by_hand() -> None:
    found = annotator(
        "ann",
        [
            judged("ann", "p", 4.0, shown_first=(True,), longer=(True,), right=True),
            judged("ann", "q", 8.0, shown_first=(True,), longer=(False,), changed=True),
            judged("ann", "r", 60.0, shown_first=(True,), changed=False),
            judged("ann", "s", 20.0, too_hard=True, right=False),
        ],
    )
    assert (found.labels, found.median_seconds) == (4, 14.0)
    assert found.shown_first is not None
    assert (found.shown_first.value, found.shown_first.n) == (1.0, 3)
    assert found.longer is not None
    assert found.longer.value == 0.5
    assert found.gold == proportion_like(1, 2)
    assert found.changed == proportion_like(1, 2)
    assert found.too_hard == proportion_like(1, 4)
    assert found.agreement is None


def proportion_like(successes: int, n: int) -> object:
    return clustered_proportion([float(place < successes) for place in range(n)], range(n))


def test_shares_are_near_wilsons_interval_when_every_item_has_one_pair() -> None:
    judgements = [judged("ann", str(item), shown_first=(item % 4 > 0,)) for item in range(200)]
    found, wilson = annotator("ann", judgements).shown_first, proportion(150, 200)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.75, wilson.low, wilson.high), abs=0.003)


def test_the_pairs_of_one_ranking_count_as_one_item() -> None:
    # Ten pairs of one ranking, all shown in the order they were given: one item says nothing about the spread.
    found = annotator("ann", [judged("ann", "p", shown_first=(True,) * 10)]).shown_first
    assert found is not None
    assert (found.n, found.low, found.high) == (1, 0.0, 1.0)


def test_everyone_counts_people() -> None:
    judgements = [judged(name, str(item), shown_first=(True,)) for name in ("ann", "bo") for item in range(50)]
    found = everyone(judgements).shown_first
    assert found is not None
    assert found.n == 2
    assert found.low < 0.5  # two people who agree with one another say little about a third


def test_annotators_come_with_most_labels_first() -> None:
    judgements = [judged("bo", "p"), judged("ann", "p"), judged("cy", "p"), judged("cy", "q")]
    agreed = agreement_with_others([Scale("x", [{"ann": 1, "cy": 1}], ["p"], tolerance=0)])
    found = by_annotator(judgements, agreed)
    assert [(one.name, one.labels, one.agreement is None) for one in found] == [
        ("cy", 2, False),
        ("ann", 1, False),
        ("bo", 1, True),
    ]


def test_agreement_with_others_leaves_oneself_out() -> None:
    # p: ann agrees with bo and not with cy; q: ann and cy agree. Ann 2/3, bo 1/2, cy 1/3.
    units = [{"ann": 1, "bo": 1, "cy": -1}, {"ann": 0, "cy": 0}, {"bo": 1}]
    found = agreement_with_others([Scale("x", units, ["p", "q", "r"], tolerance=0)])
    assert {name: one.value for name, one in found.items()} == pytest.approx({"ann": 2 / 3, "bo": 1 / 2, "cy": 1 / 3})
    assert found["ann"].n == 2


def test_agreement_with_others_allows_what_the_scale_tolerates() -> None:
    scale = Scale("grades", [{"ann": 3, "bo": 4, "cy": 5}], ["p"], tolerance=1)
    assert agreement_with_others([scale])["ann"].value == 0.5
    assert agreement_with_others([Scale("x", scale.units, ["p"])]) == {}


def test_the_measures_of_a_scale_by_hand() -> None:
    # As Fleiss' kappa by hand: P_i = 1/3, 1, 1/3; shares 4/9 and 5/9; kappa = 1/10.
    units = [{"ann": a, "bo": b, "cy": c} for a, b, c in ((0, 0, 1), (1, 1, 1), (0, 1, 0))]
    found = agreement(Scale("x", [*units, {"ann": 0}], ["p", "q", "r", "s"], ("nominal", "interval"), binary=True))
    assert found is not None
    assert (found.ratings, found.pairwise.n) == (9, 3)
    assert found.pairwise.value == pytest.approx(5 / 9)
    assert found.fleiss is not None
    assert found.fleiss.value == pytest.approx(0.1)
    assert set(found.alpha) == {"nominal", "interval"}
    assert found.ceiling is not None
    assert found.ceiling.value == pytest.approx((1 + math.sqrt(1 / 9)) / 2)


def test_a_measure_that_is_not_defined_is_none() -> None:
    assert agreement(Scale("x", [{"ann": 1}, {"bo": 1}], ["p", "q"])) is None
    same = agreement(Scale("x", [{"ann": 1, "bo": 1}], ["p"]))
    assert same is not None
    assert (same.pairwise.value, same.cohen, same.fleiss, same.alpha, same.ceiling) == (1.0, None, None, {}, None)
    unequal = agreement(Scale("x", [{"ann": 1, "bo": 2}, {"ann": 1, "bo": 1, "cy": 1}], ["p", "q"]))
    assert unequal is not None
    assert unequal.fleiss is None
    assert unequal.cohen is not None


def test_published_agreement_and_the_accuracy_it_allows() -> None:
    # q with q² + (1 - q)² = 0.726 is 0.836; for 0.63 it is 0.755.
    assert [round(norm.ceiling, 3) for norm in NORMS] == [0.836, 0.869, 0.755]
    for norm in NORMS:
        assert norm.ceiling**2 + (1 - norm.ceiling) ** 2 == pytest.approx(norm.agreement)
