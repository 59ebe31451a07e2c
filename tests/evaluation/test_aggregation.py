from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import dawid_skene as oracle

from trimtab.evaluation.aggregation import (
    Aggregation,
    balanced,
    dawid_skene,
    majority,
    to_comparison,
    vote_share,
)
from trimtab.evaluation.dawid_skene import Fit, Ratings, fit
from trimtab.evaluation.votes import Question, Vote
from trimtab.types import Message, Prompt

PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111
1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121
1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""
"""Dawid and Skene 1979, table 1: of each patient what the first anaesthetist said three times and four others once."""

VOTES = st.lists(
    st.builds(
        Vote,
        st.tuples(st.sampled_from("pqr"), st.just(0), st.just(1)),
        st.sampled_from(["ann", "bo", "cy", "di"]),
        st.integers(-2, 2),
    ),
    unique_by=lambda vote: (vote.question, vote.annotator),
)


def votes(**by_item: dict[str, int]) -> list[Vote]:
    """Votes on the first two responses of items: by item, by annotator."""
    return [Vote((item, 0, 1), name, value) for item, cast in by_item.items() for name, value in cast.items()]


def question(item: str) -> Question:
    return item, 0, 1


def test_share_and_majority_by_hand() -> None:
    cast = votes(p={"ann": 2, "bo": 0, "cy": -1, "di": 1}, q={"ann": 0, "bo": -1}, r={"ann": 1, "bo": -2})
    # p: (1 + 1/2 + 0 + 1) / 4, and two against one. q: (1/2 + 0) / 2, and one against none. r: even.
    assert vote_share(cast) == {question("p"): 0.625, question("q"): 0.25, question("r"): 0.5}
    assert majority(cast) == {question("p"): 1.0, question("q"): 0.0, question("r"): 0.5}


@pytest.mark.parametrize("aggregation", [vote_share, majority, dawid_skene])
@given(cast=VOTES)
def test_every_question_gets_a_probability(aggregation: Aggregation, cast: list[Vote]) -> None:
    found = aggregation(cast)
    assert set(found) == {vote.question for vote in cast}
    assert all(0.0 <= probability <= 1.0 for probability in found.values())


@pytest.mark.parametrize("aggregation", [vote_share, majority, dawid_skene])
@pytest.mark.parametrize("seed", range(3))
def test_it_does_not_matter_which_response_is_first(aggregation: Aggregation, seed: int) -> None:
    cast, _ = simulated({"ann": 0.9, "bo": 0.7, "cy": 0.6}, items=60, seed=seed)
    swapped = aggregation([Vote(vote.question, vote.annotator, -vote.preference) for vote in cast])
    assert swapped == pytest.approx({key: 1 - share for key, share in aggregation(cast).items()}, abs=1e-4)


def test_dawid_skene_reproduces_the_papers_example() -> None:
    ratings = [
        (patient, 0 if place < 3 else place - 2, int(rating) - 1)
        for patient, said in enumerate(PATIENTS.split())
        for place, rating in enumerate(said)
    ]
    found = fit(Ratings(*np.array(ratings).T), smoothing=0.0)
    assert found.marginals == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)  # table 2
    expected, common, log_likelihood = oracle.estimate(
        {
            str(patient): {"1": [int(x) for x in said[:3]], **{str(k - 1): [int(said[k])] for k in range(3, 7)}}
            for patient, said in enumerate(PATIENTS.split())
        },
        [1, 2, 3, 4],
        steps=200,
    )
    assert found.probabilities == pytest.approx(np.array(list(expected.values())), abs=1e-4)
    assert found.marginals == pytest.approx(common, abs=1e-5)
    assert found.log_likelihood == pytest.approx(log_likelihood, abs=1e-4)


def simulated(accuracy: dict[str, float], items: int, seed: int) -> tuple[list[Vote], dict[Question, float]]:
    """Everybody votes on every item and is right with their own probability; the truth beside it."""
    rng = random.Random(seed)
    truth = {question(str(item)): rng.choice([-1, 1]) for item in range(items)}
    cast = [
        Vote(key, name, right if rng.random() < share else -right)
        for key, right in truth.items()
        for name, share in accuracy.items()
    ]
    return cast, {key: (1 + right) / 2 for key, right in truth.items()}


def test_dawid_skene_finds_out_who_can_be_trusted() -> None:
    cast, truth = simulated({"ann": 0.95, "bo": 0.9, "cy": 0.5, "di": 0.5, "ed": 0.5}, items=300, seed=1)

    def right(found: dict[Question, float]) -> float:
        return sum(abs(found[key] - truth[key]) < 0.5 for key in truth) / len(truth)

    # Three who toss coins outvote the others in 1/8 of cases or more; ann alone is right in 95 %.
    assert right(majority(cast)) < 0.88
    assert right(dawid_skene(cast)) > 0.93


def test_dawid_skene_knows_whoever_always_says_the_opposite() -> None:
    cast, truth = simulated({"ann": 0.9, "bo": 0.9, "cy": 0.05}, items=200, seed=2)
    rates = _error_rates(cast, ["ann", "bo", "cy"])
    assert rates.error_rates[2, 0, 0] < 0.2
    assert sum(abs(value - truth[key]) < 0.5 for key, value in dawid_skene(cast).items()) > 180


def test_without_smoothing_one_rating_is_believed_and_with_it_is_not() -> None:
    cast, _ = simulated({"ann": 0.8, "bo": 0.8}, items=100, seed=3)
    alone = Vote(question("once"), "new", 1)
    assert dawid_skene([*cast, alone], smoothing=0.0)[question("once")] == pytest.approx(1.0)
    assert 0.4 < dawid_skene([*cast, alone])[question("once")] < 0.95


def test_dawid_skene_of_no_votes() -> None:
    assert dawid_skene([]) == {}


def _error_rates(cast: list[Vote], names: list[str]) -> Fit:
    keys = list({vote.question: None for vote in cast})
    rows = [(keys.index(vote.question), names.index(vote.annotator), int(vote.preference > 0)) for vote in cast]
    return fit(Ratings(*np.array(rows).T), smoothing=0.5)


def test_balanced_groups_weigh_the_same_however_many_voted() -> None:
    groups = {"ann": "old", "bo": "young", "cy": "young", "di": "young"}
    cast = votes(p={"ann": 1, "bo": -1, "cy": -1, "di": 1})
    # Old 1, young 1/3: half of each. As shares of a population that is nine tenths young: (0.1 + 0.9 / 3).
    assert balanced(cast, groups=groups)[question("p")] == pytest.approx(2 / 3)
    assert balanced(cast, groups=groups, shares={"old": 0.1, "young": 0.9})[question("p")] == pytest.approx(0.4)


def test_balanced_leaves_out_groups_that_did_not_vote_and_counts_the_rest_as_they_come() -> None:
    groups = {"ann": "old", "bo": "young"}
    cast = votes(p={"ann": 1, "eve": -1}, q={"eve": 1, "flo": -1, "gus": -1}, r={"ann": 1, "bo": -1, "eve": -1})
    found = balanced(cast, groups=groups, shares={"old": 0.5, "young": 0.5})
    # p: old has all of its half of the votes. q: nobody is in a group. r: two votes at (1 + 0) / 2, one at 0.
    assert [found[question(item)] for item in "pqr"] == pytest.approx([0.5, 1 / 3, 1 / 3])


def test_a_group_without_a_share_counts_as_it_comes() -> None:
    cast = votes(p={"ann": 1, "bo": -1})
    assert balanced(cast, groups={"ann": "old", "bo": "young"}, shares={"old": 1.0})[question("p")] == 0.5


def test_a_comparison_keeps_who_said_what_and_how_strongly() -> None:
    cast = votes(p={"ann": -2, "bo": -1, "cy": 2, "di": -2, "ed": 0})
    found = to_comparison(Prompt((Message("user", "hi"),)), "a", "b", cast, 0.3, version="2")
    assert (found.chosen, found.rejected) == ("b", "a")
    assert found.probability == pytest.approx(0.7)
    assert found.margin == pytest.approx((2 - 1) / 5)  # two say by far b, one by far a, of five
    assert found.votes == (1.0, 1.0, 0.0, 1.0, 0.5)
    assert found.annotators == ("ann", "bo", "cy", "di", "ed")
    assert found.instructions_version == "2"


def test_of_two_equally_good_responses_the_first_is_chosen() -> None:
    found = to_comparison(Prompt(()), "a", "b", votes(p={"ann": 2, "bo": -1}), 0.5)
    assert (found.chosen, found.margin, found.votes) == ("a", 0.5, (1.0, 0.0))
