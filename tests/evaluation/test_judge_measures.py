from __future__ import annotations

import math

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


def test_agreement_with_one_person_is_beside_that_of_two() -> None:
    """Of three votes two are for chosen: a judge of the majority agrees with 2/3 of them, one of the minority with 1/3.

    Ties are no choices, one vote alone has no other beside it.
    """
    divided = Comparison(prompt("a"), "x", "y", 2 / 3, votes=(1.0, 1.0, 0.0))
    tied = Comparison(prompt("b"), "x", "y", 0.75, votes=(1.0, 0.5, 1.0))
    alone = Comparison(prompt("c"), "x", "y", 1.0, votes=(1.0,))
    report = judge_report([Judged(divided, 0.9), Judged(tied, 0.1), Judged(alone, 0.1)])
    assert report.with_one is not None
    assert report.with_one.value == pytest.approx((2 / 3 + 0) / 2)
    assert report.agreement is not None
    other = judge_report([Judged(divided, 0.2), Judged(tied, 0.5)])
    assert other.with_one is not None
    assert other.with_one.value == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert judge_report([Judged(alone, 0.9)]).with_one is None


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


def test_pairs_of_one_prompt_count_as_one_witness() -> None:
    """Six pairs of two prompts, alike within a prompt: two independent values, not six."""
    judged = [Judged(pair("a"), 0.9, places=(1.0, 0.4), mass=0.9) for _ in range(4)]
    judged += [Judged(pair("b"), 0.1, places=(0.7, 0.5), mass=0.5) for _ in range(2)]
    report = judge_report(judged)
    assert report.front is not None
    assert report.mass is not None
    (one,) = report.calibration
    assert (report.front.n, report.mass.n, one.right.n) == (2, 2, 2)
    assert report.front.value == pytest.approx((4 * 0.8 + 2 * 0.6) / 6)
    assert report.mass.value == pytest.approx((4 * 0.9 + 2 * 0.5) / 6)
    assert (one.right.value, one.judgements) == (pytest.approx(4 / 6), 6)


def test_the_calibration_error_weighs_judgements_and_not_prompts() -> None:
    judged = [Judged(pair("a"), 0.9) for _ in range(6)] + [Judged(pair("b"), 0.45), Judged(pair("c"), 0.55)]
    assert judge_report(judged).calibration_error == pytest.approx((6 * 0.1 + 2 * 0.05) / 8)


def test_it_is_plain_json() -> None:
    found = judge_report([Judged(pair(str(n)), 0.8, places=(0.8, 0.8)) for n in range(3)]).to_json()
    assert found["accuracy"]["value"] == 1.0
    assert found["calibration"][0]["right"]["n"] == 3
    assert found["beats_chance"] is True or found["beats_chance"] is False


def test_leaning_to_its_own_answers_is_beside_people() -> None:
    # of four comparisons with one answer of its own: the judge takes it in 3, people in 1
    judged = [
        Judged(pair("a"), 0.9, own="chosen"),  # both take it
        Judged(pair("b"), 0.1, own="rejected"),  # the judge alone
        Judged(pair("c"), 0.2, own="rejected"),  # the judge alone
        Judged(pair("d"), 0.8, own="rejected"),  # neither
        Judged(pair("e"), 0.1),  # not its own
        Judged(pair("f"), None, "malformed", own="chosen"),
    ]
    found = judge_report(judged).self_preference
    assert found is not None
    assert (found.value, found.n) == (pytest.approx((3 - 1) / 4), 4)
    assert judge_report([Judged(pair("a"), 0.9)]).self_preference is None


def test_the_slope_with_length_leaves_out_what_people_chose() -> None:
    """Choices that go by length alone, but for one in five: b = logit(0.8) a doubling, at whatever people chose."""
    judged = []
    for number in range(40):
        longer_is_chosen, with_length = bool(number % 2), number % 5 != 0
        chosen, rejected = ("w" * 8, "w" * 4) if longer_is_chosen else ("w" * 4, "w" * 8)
        probability = 0.9 if longer_is_chosen == with_length else 0.1
        judged.append(Judged(pair(str(number), chosen=chosen, rejected=rejected), probability))
    found = judge_report(judged).length_slope
    assert found is not None
    assert found.value == pytest.approx(math.log(4), abs=1e-6)


def test_the_probability_of_all_options_is_told() -> None:
    report = judge_report([Judged(pair("a"), 0.9, mass=0.8), Judged(pair("b"), None, "malformed", mass=0.2)])
    assert report.mass is not None
    assert report.mass.value == pytest.approx(0.5)
