"""How many votes an item gets: as many as the settings say, and one more where those disagree."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from trimtab.labelling.records import ANSWER, Answer, Compared, Graded, Ranked, TooHard
from trimtab.labelling.settings import Settings


def votes_wanted(answers: Sequence[Answer], settings: Settings) -> int:
    """Votes wanted of an item that has these, in the order in which they came."""
    first = answers[: settings.overlap]
    one_more = settings.votes_for_agreement is not None and len(first) == settings.overlap and disagree(first)
    return settings.overlap + one_more


def disagree(answers: Sequence[Answer]) -> bool:
    """Whether votes point in different directions: other preferences, other orders, grades two apart or more."""
    judged = [answer for answer in answers if not isinstance(answer, TooHard)]
    if len({direction(answer.preference) for answer in judged if isinstance(answer, Compared)}) > 1:
        return True
    orders = {tuple(frozenset(tier) for tier in answer.tiers) for answer in judged if isinstance(answer, Ranked)}
    scores = [answer.score for answer in judged if isinstance(answer, Graded)]
    return len(orders) > 1 or (bool(scores) and max(scores) - min(scores) > 1)


def settle_votes(db: sqlite3.Connection, settings: Settings, item: int | None = None) -> None:
    """Write down how many votes one item, or every one, is to get; those whose answer is known go to everybody."""
    one = "" if item is None else f"AND items.id = {item:d}"
    answers: dict[int, list[Answer]] = {}
    for row in db.execute(
        "SELECT items.id, answer FROM items LEFT JOIN labels ON labels.item = items.id "
        f"WHERE wanted IS NOT NULL {one} ORDER BY items.id, labels.id"
    ):
        of_item = answers.setdefault(row["id"], [])
        if row["answer"] is not None:
            of_item.append(ANSWER.validate_json(row["answer"]))
    wanted = [(votes_wanted(given, settings), number) for number, given in answers.items()]
    db.executemany("UPDATE items SET wanted = ?1 WHERE id = ?2 AND wanted <> ?1", wanted)


def direction(number: int) -> int:
    """-1, 0 or 1: which response a preference is for, however strong it is."""
    return (number > 0) - (number < 0)
