from __future__ import annotations

from dataclasses import replace

import pytest
from tests.evaluation.world import prompt

from trimtab.evaluation.tasks.reward_accuracy import annotator_agreement, reward_accuracy
from trimtab.evaluation.tasks.vote_accuracy import accuracy_by_annotator, accuracy_by_group
from trimtab.evaluation.tasks.win_rate import judged_win_rate
from trimtab.types import Comparison


def comparison(number: int, *votes: float) -> Comparison:
    """A comparison with these votes for the first response, one vote for it if none are given."""
    votes = votes or (1.0,)
    return Comparison(prompt(f"p{number}"), "good", "bad", sum(votes) / len(votes), votes=votes)


def test_accuracy_is_against_the_majority_and_ties_count_one_half() -> None:
    pairs = [comparison(0), comparison(1, 1, 1, 0), comparison(2, 0, 1, 0), comparison(3, 1, 1), comparison(4, 0, 1)]
    # Right; wrong; right (the second response is the better one and scores higher); equal scores; no majority.
    found = reward_accuracy(pairs, [1, 0, 0, 2, 5], [0, 1, 1, 2, 1])
    assert found is not None
    assert found.overall.value == pytest.approx(2.5 / 4)
    assert found.left_out == 1
    assert {name: one.value for name, one in found.by_agreement.items()} == pytest.approx(
        {"unanimous": 0.5, "majority": 0.5, "one vote": 1.0}
    )


def test_how_far_annotators_agree() -> None:
    """4 of 4; 2 of 3; a vote and a tie; 3 of 5; two votes for the second and two ties; a tie is no vote for anybody."""
    votes = [(1, 1, 1, 1), (1, 0, 1), (1, 0.5), (1, 1, 1, 0, 0), (0, 0, 0.5, 0.5), (1, 0, 0.5, 0.5, 1)]
    levels = ["unanimous", "majority", "majority", "split", "majority", "split"]
    for wanted, cast in zip(levels, votes, strict=True):
        found = reward_accuracy([comparison(0, *cast), comparison(1)], [1, 1], [0, 0])
        assert found is not None
        assert [*found.by_agreement] == [wanted, "one vote"]
        assert found.by_agreement[wanted].value == float(sum(cast) > len(cast) / 2)
        assert found.by_agreement[wanted].n == 1


def voted(number: int, **votes: float) -> Comparison:
    return replace(comparison(number, *votes.values()), annotators=tuple(votes))


def test_accuracy_by_annotator_is_against_each_ones_own_votes() -> None:
    """Scores prefer the first, the second, neither. Ann: right, wrong, half. Bo: wrong on the first, then a tie."""
    pairs = [voted(0, ann=1, bo=0), voted(1, ann=1, bo=0.5), voted(1, ann=0)]
    found = accuracy_by_annotator(pairs, [2, 0, 1], [1, 1, 1])
    assert {name: (one.value, one.n) for name, one in found.items()} == {"ann": (0.5, 2), "bo": (0.0, 1)}


def test_votes_without_names_are_nobodys() -> None:
    unnamed = replace(voted(0, ann=1, bo=1), annotators=("ann",))
    assert accuracy_by_annotator([comparison(0, 1, 1), unnamed], [1, 1], [0, 0]) == {}


def test_accuracy_by_group_is_of_five_people_or_more() -> None:
    """Six nurses vote for the first, five doctors and two others for the second; the scores prefer the first.

    The two are too few to show, so the doctors join them.
    """
    values = {f"n{i}": "nurse" for i in range(6)} | {f"d{i}": "doctor" for i in range(5)} | {"o0": "other"}
    people = [*values, "silent"]
    pairs = [voted(number, **{name: float(name.startswith("n")) for name in people}) for number in range(3)]
    found = accuracy_by_group(pairs, [1] * 3, [0] * 3, values)
    assert {name: (one.value, one.n) for name, one in found.items()} == {
        "nurse": (1.0, 3),
        "doctor or not said or other": (0.0, 3),
    }
    few = [voted(0, n0=1, d0=0)]
    assert accuracy_by_group(few, [1], [0], values) == {}


def test_accuracy_is_clustered_by_prompt() -> None:
    pairs = [comparison(number // 5) for number in range(50)]
    found = reward_accuracy(pairs, [float(number // 5 % 2) for number in range(50)], [0.5] * 50)
    assert found is not None
    assert found.overall.n == 10
    assert found.overall.low < 0.5


def test_accuracy_clearly_above_chance() -> None:
    pairs = [comparison(number) for number in range(60)]
    found = reward_accuracy(pairs, [1.0] * 50 + [0.0] * 10, [0.5] * 60)
    assert found is not None
    assert found.overall.low > 0.5


def test_ceiling_comes_from_the_annotators_own_agreement() -> None:
    # Three votes, two to one: 1 of 3 pairs agrees. Two votes, both alike: 1 of 1. In all 2 of 4, which is a coin's.
    pairs = [comparison(0, 1, 0, 1), comparison(1, 1, 1), comparison(2)]
    agreement = annotator_agreement(pairs)
    assert agreement is not None
    assert agreement.value == pytest.approx(0.5)
    found = reward_accuracy(pairs, [1, 1, 1], [0, 0, 0])
    assert found is not None
    assert found.ceiling is not None
    assert found.ceiling.value == 0.5


def test_a_tie_says_nothing_about_agreement() -> None:
    agreement = annotator_agreement([comparison(0, 0.5, 0.5), comparison(1, 0.5, 1), comparison(2, 1, 0.5, 1)])
    assert agreement is not None
    assert (agreement.value, agreement.n) == (1.0, 1)
    assert annotator_agreement([comparison(0, 0.5, 0.5)]) is None


def test_without_double_labels_there_is_no_ceiling_and_without_majorities_no_accuracy() -> None:
    found = reward_accuracy([comparison(0), comparison(1)], [1, 1], [0, 0])
    assert found is not None
    assert found.ceiling is None
    assert found.by_agreement == {}
    assert reward_accuracy([comparison(0, 0.5)], [1], [0]) is None


def test_win_rate_compares_every_answer_with_every_answer_to_the_same_prompt() -> None:
    # Prompt 0: 3 beats 1 and 2, 1 ties 1 and loses to 2. Prompt 1: 0 loses to 5 twice, and 5 ties twice.
    found = judged_win_rate([[3, 1], [0, 5]], [[1, 2], [5, 5]], "reward model")
    assert found.won == pytest.approx(2 / 8)
    assert found.tied == pytest.approx(3 / 8)
    assert found.lost == pytest.approx(3 / 8)
    assert found.estimate.value == pytest.approx((2 + 1.5) / 8)
    assert found.estimate.n == 2


def test_win_rate_says_who_judges() -> None:
    assert "not an independent judge" in judged_win_rate([[1]], [[0]], "the policy's reward model").note
    assert "fixed checks" in judged_win_rate([[1]], [[0]], "truth checks").note


def test_swapping_the_models_mirrors_the_win_rate() -> None:
    after, before = [[1, 2], [0, 0], [3, 1]], [[0, 2], [1, 0], [2, 2]]
    there = judged_win_rate(after, before, "reward model").estimate
    back = judged_win_rate(before, after, "reward model").estimate
    assert there.value == pytest.approx(1 - back.value)
