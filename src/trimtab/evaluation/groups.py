"""Where groups of people prefer differently, in numbers that are never of fewer than five people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from trimtab.evaluation.small_cells import FEWEST, Cell, showable
from trimtab.evaluation.statistics import Estimate, clustered_proportion, win_rate
from trimtab.evaluation.votes import Question, Vote, by_question

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]

_PERMUTATIONS = 999
_NOT_SAID = ""
_Meetings = dict[tuple[str, bool], list[tuple[str, float]]]


@dataclass(frozen=True, slots=True)
class Group:
    """One group over all questions; intervals are clustered by person, so n counts people.

    `first` is the share of votes for the first response, which tells something where the first is always the same
    system's. `within` and `across` are how often a person agrees with others of the group, and with people outside it.
    """

    name: str
    people: int
    first: Estimate
    within: Estimate | None
    across: Estimate | None


@dataclass(frozen=True, slots=True)
class Divided:
    """A question on which groups differ: the share of each group's votes for the first response.

    `gap` is the largest share minus the smallest; `p_value` is how often the largest gap of any question is as large
    when groups are dealt at random, so it allows for how many questions there are.
    """

    question: Question
    by_group: Mapping[str, Estimate]
    gap: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Groups:
    """An attribute's groups, the questions that divide them most, and whether groups differ at all.

    `p_value` is how often groups dealt at random among the same people differ as much; None if no question has two
    groups of five people. Without groups there are too few people for any to be shown.
    """

    groups: tuple[Group, ...]
    questions: int
    divided: tuple[Divided, ...]
    p_value: float | None


def compare_groups(
    votes: Sequence[Vote], values: Mapping[str, str], cells: Sequence[Cell], *, most: int = 10, seed: int = 0
) -> Groups:
    """Compare groups of those who voted. `values` is what each person said, `cells` the groups that may be shown.

    A question shows a group if five of it voted, and if those left out, together, are none or at least five: else they
    follow by subtraction.
    """
    group_of = {person: cell.name for cell in cells for person, value in values.items() if value in cell.values}
    met = _meetings(votes, group_of)
    groups = tuple(_group(cell, votes, group_of, met) for cell in cells)
    shown = _shown_questions(votes, group_of)
    if not shown:
        return Groups(groups, 0, (), None)
    deal = _Deal(votes, group_of)
    spreads, gaps = deal.permuted(seed)
    divided = [
        Divided(question, by_group, gap, _p_value(gaps, gap))
        for question, by_group in shown.items()
        if (gap := _gap(by_group)) > 0.0
    ]
    return Groups(
        groups=groups,
        questions=len(shown),
        divided=tuple(sorted(divided, key=lambda found: (-found.gap, found.question))[:most]),
        p_value=_p_value(spreads, deal.spread(deal.groups)),
    )


class _Deal:
    """The votes of those who are in a group, as arrays, and what follows when groups are dealt anew."""

    def __init__(self, votes: Sequence[Vote], group_of: Mapping[str, str]) -> None:
        kept = [vote for vote in votes if vote.annotator in group_of]
        people, names = sorted({vote.annotator for vote in kept}), sorted({*group_of.values()})
        questions = list({vote.question: None for vote in kept})
        person = {name: number for number, name in enumerate(people)}
        place = {question: number for number, question in enumerate(questions)}
        self.groups = np.array([names.index(group_of[name]) for name in people], dtype=np.intp)
        self._person = np.array([person[vote.annotator] for vote in kept], dtype=np.intp)
        self._question = np.array([place[vote.question] for vote in kept], dtype=np.intp)
        self._share = np.array([vote.share for vote in kept])
        self._size = (len(names), len(questions))
        self._mean = np.bincount(self._question, self._share) / np.bincount(self._question)

    def spread(self, groups: Numbers) -> float:
        """The sum of squares between groups: over questions and groups, votes times squared distance from all votes."""
        number, first = self._cells(groups)
        return float(((first - number * self._mean) ** 2 / np.maximum(number, 1.0)).sum())

    def largest_gap(self, groups: Numbers) -> float:
        """The largest difference of two groups' shares for first on one question; only groups of five or more count."""
        number, first = self._cells(groups)
        shares, enough = first / np.maximum(number, 1.0), number >= FEWEST
        highest, lowest = np.where(enough, shares, -np.inf).max(0), np.where(enough, shares, np.inf).min(0)
        return float((highest - lowest).max())

    def permuted(self, seed: int) -> tuple[Array, Array]:
        """The spread and the largest gap of each of many random deals."""
        generator = np.random.default_rng(seed)
        deals = [generator.permutation(self.groups) for _ in range(_PERMUTATIONS)]
        return np.array([self.spread(deal) for deal in deals]), np.array([self.largest_gap(deal) for deal in deals])

    def _cells(self, groups: Numbers) -> tuple[Array, Array]:
        """By group and question: how many voted, and how much of that was for first."""
        rows, columns = self._size
        cell = groups[self._person] * columns + self._question
        number = np.bincount(cell, minlength=rows * columns).astype(np.float64)
        first = np.bincount(cell, self._share, rows * columns).astype(np.float64)
        return number.reshape(rows, columns), first.reshape(rows, columns)


def _shown_questions(votes: Sequence[Vote], group_of: Mapping[str, str]) -> dict[Question, dict[str, Estimate]]:
    """The questions of which two groups or more may be shown, with each group's share for first."""
    shown = {}
    for question, cast in by_question(votes).items():
        cells = showable(Counter(group_of.get(vote.annotator, _NOT_SAID) for vote in cast))
        alone = [cell.values[0] for cell in cells if len(cell.values) == 1 and cell.values[0] != _NOT_SAID]
        if len(alone) > 1:
            shares = {name: [vote.share for vote in cast if group_of.get(vote.annotator) == name] for name in alone}
            shown[question] = {name: win_rate(of_group) for name, of_group in sorted(shares.items())}
    return shown


def _gap(by_group: Mapping[str, Estimate]) -> float:
    values = [estimate.value for estimate in by_group.values()]
    return max(values) - min(values)


def _p_value(dealt: Array, found: float) -> float:
    """The share of deals, this one among them, with at least this value. Rounding must not tell equal values apart."""
    return float((1 + (dealt >= found - 1e-9).sum()) / (1 + len(dealt)))


def _group(cell: Cell, votes: Sequence[Vote], group_of: Mapping[str, str], met: _Meetings) -> Group:
    theirs = [vote for vote in votes if group_of.get(vote.annotator) == cell.name]
    return Group(
        name=cell.name,
        people=cell.people,
        first=clustered_proportion([vote.share for vote in theirs], [vote.annotator for vote in theirs]),
        within=_by_person(met[cell.name, True]),
        across=_by_person(met[cell.name, False]),
    )


def _meetings(votes: Sequence[Vote], group_of: Mapping[str, str]) -> _Meetings:
    """By group, and whether the other is of it too: who voted on the same question, and whether they agreed."""
    met: _Meetings = defaultdict(list)
    for cast in by_question(votes).values():
        for one, other in combinations(cast, 2):
            groups = group_of.get(one.annotator), group_of.get(other.annotator)
            for vote, group in zip((one, other), groups, strict=True):
                if group is not None:
                    met[group, groups[0] == groups[1]].append((vote.annotator, float(one.direction == other.direction)))
    return met


def _by_person(met: Sequence[tuple[str, float]]) -> Estimate | None:
    """How often they agreed, clustered by person; None if that would be of fewer than five people."""
    people = [person for person, _ in met]
    return clustered_proportion([agreed for _, agreed in met], people) if len({*people}) >= FEWEST else None
