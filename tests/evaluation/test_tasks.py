from __future__ import annotations

import pytest
from tests.evaluation.world import prompt

from trimtab.evaluation.tasks.reward_accuracy import annotator_agreement, reward_accuracy
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
        {"annotators agreed": 0.5, "annotators divided": 0.5, "one vote": 1.0}
    )


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
