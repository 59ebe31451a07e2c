"""Which votes of a project can still come: nobody is waited for who cannot give one."""

from __future__ import annotations

from itertools import groupby

from trimtab.labelling.assignment import passed_quiz, progress
from trimtab.labelling.store import Store


def can_vote(store: Store) -> set[int]:
    """The numbers of those whose link works and who have not failed the quiz, leads left out."""
    return {
        number for number in store.linked().values() if progress(store, number).in_quiz or passed_quiz(store, number)
    }


def votes_expected(store: Store) -> dict[str, int]:
    """How many votes each item is to get, by key, as far as there are people for them; known answers left out.

    People are those who can vote, and whoever has voted on the item. Fewer than the overlap are never too few: more can
    be invited.
    """
    able, overlap = can_vote(store), store.settings.overlap
    rows = store.read(
        "SELECT key, wanted, annotator FROM items LEFT JOIN labels ON labels.item = items.id "
        "WHERE wanted IS NOT NULL ORDER BY items.id"
    )
    expected = {}
    for (key, wanted), of_item in groupby(rows, key=lambda row: (row["key"], row["wanted"])):
        people = able.union(row["annotator"] for row in of_item if row["annotator"] is not None)
        expected[key] = min(wanted, max(overlap, len(people)))
    return expected
