"""Small projects with people in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimtab.labelling import people
from trimtab.labelling.records import Compared, Graded, Item, Turn
from trimtab.labelling.settings import Settings
from trimtab.labelling.store import Store


def question(text: str) -> tuple[Turn, ...]:
    return (Turn(role="user", content=text),)


def pair(number: int, **more: object) -> Item:
    return Item(kind="compare", prompt=question(f"question {number}"), responses=("first", "second"), **more)


def gold_pair(number: int, preference: int = 1, **more: object) -> Item:
    return pair(number, gold=Compared(preference=preference), **more)


def quiz_pair(number: int, preference: int = 1) -> Item:
    return gold_pair(number, preference, is_quiz=True, explanation="The first is right.")


def graded(number: int, **more: object) -> Item:
    return Item(kind="grade", prompt=question(f"question {number}"), responses=("answer",), **more)


def grade(score: int) -> Graded:
    return Graded(score=score)


def project(folder: Path, items: Sequence[Item], names: Sequence[str] = ("ann", "bo"), **settings: object) -> Store:
    """A project with these items and people."""
    store = Store.create(folder, Settings(**settings))
    store.add_items(items)
    people.invite(store, names)
    return store


def taken_is_true(store: Store) -> bool:
    """Whether `taken` of every item is its labels and live leases."""
    return not store.read(
        "SELECT id FROM items WHERE taken != (SELECT COUNT(*) FROM labels WHERE item = items.id) + "
        "(SELECT COUNT(*) FROM leases WHERE item = items.id AND state = 'live')"
    )


def number_of(store: Store, name: str) -> int:
    return int(store.read("SELECT id FROM annotators WHERE name = ?", name)[0]["id"])
