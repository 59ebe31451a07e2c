"""A vote: which of two responses one annotator prefers. Rankings are votes on all their pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Question = tuple[str, int, int]
"""What is voted on: an item, and the numbers of two of its responses, called the first and the second."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One annotator's vote: 2 first is better by far, 1 first, 0 a tie, -1 second, -2 second by far."""

    question: Question
    annotator: str
    preference: int

    @property
    def direction(self) -> int:
        """1 for first, 0 for a tie, -1 for second."""
        return (self.preference > 0) - (self.preference < 0)

    @property
    def share(self) -> float:
        """How much of the vote goes to first: 1, 1/2 or 0."""
        return (1 + self.direction) / 2


def by_question(votes: Iterable[Vote]) -> dict[Question, list[Vote]]:
    """The votes on each question, in the order in which they come."""
    found: dict[Question, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.question, []).append(vote)
    return found
