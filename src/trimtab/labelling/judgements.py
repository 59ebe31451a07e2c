"""Labels as votes on pairs of responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from trimtab.evaluation.votes import Question, Vote
from trimtab.labelling.records import Answer, Compared, LabelledItem, Ranked


def votes_of(labelled: Iterable[LabelledItem]) -> list[Vote]:
    """Every vote of comparisons and rankings; of two, the one after the critiques."""
    return [
        Vote(question, label.annotator, preference)
        for one in labelled
        for label in one.labels
        for question, preference in preferences(one.item.key, label.final)
    ]


def preferences(key: str, answer: Answer) -> Iterator[tuple[Question, int]]:
    """The pairs of responses to the item `key` that an answer compares, with the preference for the first of each.

    A ranking says of every pair which is better, or neither. Answers of other kinds compare nothing.
    """
    if isinstance(answer, Compared):
        yield (key, 0, 1), answer.preference
    elif isinstance(answer, Ranked):
        tier = {response: place for place, responses in enumerate(answer.tiers) for response in responses}
        for first, second in combinations(sorted(tier), 2):
            yield (key, first, second), (tier[first] < tier[second]) - (tier[first] > tier[second])
