from __future__ import annotations

import pytest
from tests.evaluation.world import prompt

from trimtab.evaluation.judge_measures import Judged, judge_report
from trimtab.types import Comparison


def pair(name: str, probability: float = 1.0, chosen: str = "longer text", rejected: str = "short") -> Comparison:
    return Comparison(prompt(name), chosen, rejected, probability)


def test_accuracy_is_over_what_was_decided() -> None:
    judged = [
        Judged(pair("a"), 0.9),
        Judged(pair("b"), 0.2),
        Judged(pair("c"), 0.5),  # exactly undecided: one half
        Judged(pair("d"), None, "malformed"),
        Judged(pair("e", probability=0.5), 0.9),  # people are split: no right answer
        Judged(pair("f", probability=0.0), 0.1),
    ]
    report = judge_report(judged)
    assert report.accuracy is not None
    assert (report.accuracy.value, report.accuracy.n) == (pytest.approx(2.5 / 4), 4)
    assert report.decided is not None
    assert report.decided.value == pytest.approx(4 / 5)
    assert report.left_out == {"malformed": 1}
    assert report.comparisons == 6
    assert not report.beats_chance


def test_a_good_judge_beats_chance_and_a_bad_one_does_not() -> None:
    assert judge_report([Judged(pair(str(n)), 0.8) for n in range(20)]).beats_chance
    assert not judge_report([Judged(pair(str(n)), 0.2) for n in range(20)]).beats_chance
    assert not judge_report([]).beats_chance


def test_leaning_to_a_place() -> None:
    # chosen in front: 0.9; chosen behind: 0.4, so what stands in front there gets 0.6
    report = judge_report([Judged(pair(str(n)), 0.65, places=(0.9, 0.4)) for n in range(3)])
    assert report.front is not None
    assert report.front.value == pytest.approx((0.9 + 0.6) / 2)
    assert report.steady is not None
    assert report.steady.value == 0.0
    assert judge_report([Judged(pair("a"), 0.65)]).front is None


def test_leaning_to_length_beside_people() -> None:
    report = judge_report(
        [
            Judged(pair("a"), 0.9),  # both take the longer one
            Judged(pair("b", chosen="short", rejected="longer text"), 0.3),  # the judge takes the longer one
            Judged(pair("c", chosen="same!", rejected="alike"), 0.9),  # as long as each other
        ]
    )
    assert report.longer is not None
    assert report.people_longer is not None
    assert report.longer.value == pytest.approx((1 + 1 + 0.5) / 3)
    assert report.people_longer.value == pytest.approx((1 + 0 + 0.5) / 3)


def test_calibration() -> None:
    # nine tenths sure: right 3 of 4; 55 % sure: right 1 of 2. Gaps 0.15 and 0.05, weighted 4 and 2
    judged = [Judged(pair(f"s{n}"), 0.9 if n else 0.1) for n in range(4)]
    judged += [Judged(pair("u"), 0.55), Judged(pair("v"), 0.45)]
    report = judge_report(judged)
    assert [(round(one.confidence, 6), one.right.value, one.right.n) for one in report.calibration] == [
        (0.55, 0.5, 2),
        (0.9, 0.75, 4),
    ]
    assert report.calibration_error == pytest.approx((2 * 0.05 + 4 * 0.15) / 6)


def test_it_is_plain_json() -> None:
    found = judge_report([Judged(pair(str(n)), 0.8, places=(0.8, 0.8)) for n in range(3)]).to_json()
    assert found["accuracy"]["value"] == 1.0
    assert found["calibration"][0]["right"]["n"] == 3
    assert found["beats_chance"] is True or found["beats_chance"] is False
