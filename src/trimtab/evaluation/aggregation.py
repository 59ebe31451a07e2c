"""From several people's votes to one probability: how likely it is that the first response is the better one.

An aggregation maps votes to P(first is better) for every question voted on. Which one is right depends on what
disagreement means: error (`majority`, `dawid_skene`), or that people differ (`vote_share`, `balanced`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

import numpy as np

from trimtab.evaluation.dawid_skene import Numbers, Ratings, fit
from trimtab.evaluation.votes import Question, Vote, by_question
from trimtab.types import Comparison, Prompt

Value = TypeVar("Value", bound=Hashable)
Aggregation = Callable[[Sequence[Vote]], dict[Question, float]]

SMOOTHING = 0.5
"""Jeffreys' prior: half a rating in every cell of an annotator's table of errors."""


def vote_share(votes: Sequence[Vote]) -> dict[Question, float]:
    """The share of votes for first, a tie being half a vote for each. Keeps disagreement."""
    return {question: fmean(vote.share for vote in cast) for question, cast in by_question(votes).items()}


def majority(votes: Sequence[Vote]) -> dict[Question, float]:
    """1 if more votes are for first than for second, 0 if fewer, 1/2 if as many."""
    return {question: (1 + (share > 0.5) - (share < 0.5)) / 2 for question, share in vote_share(votes).items()}


def dawid_skene(votes: Sequence[Vote], *, smoothing: float = SMOOTHING) -> dict[Question, float]:
    """Votes weighed by how far each annotator can be trusted, which follows from all votes (Dawid and Skene 1979).

    The classes are first, tie and second; a tie counts one half. It supposes that every question has one right answer
    and that annotators err independently. With few votes a head it stays near the share of all votes.
    """
    if not votes:
        return {}
    questions, items = _numbered([vote.question for vote in votes])
    _, annotators = _numbered([vote.annotator for vote in votes])
    directions, classes = _numbered([vote.direction for vote in votes])
    found = fit(Ratings(items, annotators, classes), smoothing=smoothing).probabilities
    worth = np.array([(1 + direction) / 2 for direction in directions])
    return dict(zip(questions, (found @ worth).clip(0.0, 1.0).tolist(), strict=True))


def balanced(
    votes: Sequence[Vote], *, groups: Mapping[str, str], shares: Mapping[str, float] | None = None
) -> dict[Question, float]:
    """The share of votes for first when groups of annotators weigh the same, or as `shares` says, however many voted.

    `groups` maps annotators to groups. A group that did not vote on a question has no say in it. Those in no group, or
    in one without a share, count as they came: they are as many of the votes as they are.
    """
    return {question: _balanced(cast, groups, shares) for question, cast in by_question(votes).items()}


def _balanced(votes: Sequence[Vote], groups: Mapping[str, str], shares: Mapping[str, float] | None) -> float:
    of_group: dict[str, list[float]] = defaultdict(list)
    apart: list[float] = []
    for vote in votes:
        group = groups.get(vote.annotator)
        counts = group is not None and (shares is None or shares.get(group, 0.0) > 0.0)
        (of_group[str(group)] if counts else apart).append(vote.share)
    weights = {group: 1.0 if shares is None else shares[group] for group in of_group}
    if not of_group:
        return fmean(apart)
    inside = sum(weights[group] * fmean(cast) for group, cast in of_group.items()) / sum(weights.values())
    return (inside * (len(votes) - len(apart)) + sum(apart)) / len(votes)


def to_comparison(
    prompt: Prompt, first: str, second: str, votes: Sequence[Vote], probability: float, *, version: str = ""
) -> Comparison:
    """The comparison of a question's two responses; `chosen` is the one that is probably better, first if neither is.

    The margin is the share of votes that say by far better, those for rejected counting against: like a plain vote, a
    ranking has none. It is Llama 2's small margin (Touvron 2023, table 27), 1 for the strongest preference.
    """
    comparison = Comparison(
        prompt,
        first,
        second,
        probability,
        margin=fmean((abs(vote.preference) > 1) * vote.direction for vote in votes),
        annotators=tuple(vote.annotator for vote in votes),
        instructions_version=version,
        votes=tuple(vote.share for vote in votes),
    )
    return comparison if probability >= 0.5 else comparison.swap()


def _numbered(values: Sequence[Value]) -> tuple[list[Value], Numbers]:
    """The different values, and for each entry the place of its value among them."""
    numbers: dict[Value, int] = {}
    places = [numbers.setdefault(value, len(numbers)) for value in values]
    return list(numbers), np.array(places, dtype=np.intp)
