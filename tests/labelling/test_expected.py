"""Votes that can still come: of an item with two that disagree, the third only if there is somebody to give it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.labelling.world import number_of, pair, project, quiz_pair

from trimtab.labelling import people
from trimtab.labelling.assignment import next_task, record
from trimtab.labelling.expected import can_vote, votes_expected
from trimtab.labelling.records import Compared, Label, LabelledItem
from trimtab.labelling.store import Store

DIVIDED, LONE = pair(1), pair(2)


def vote(name: str, preference: int) -> Label:
    return Label(annotator=name, answer=Compared(preference=preference))


def divided(folder: Path, *names: str) -> Store:
    """Ann and bo disagree on one item; a third has a vote of dee, who came with it. There is a quiz of one."""
    store = project(folder, [quiz_pair(9)], names)
    store.add_labels(
        [
            LabelledItem(item=DIVIDED, labels=(vote("ann", 1), vote("bo", -1))),
            LabelledItem(item=LONE, labels=(vote("dee", 1),)),
        ]
    )
    return store


def do_quiz(store: Store, name: str, preference: int) -> None:
    number, now = number_of(store, name), time.time()
    task = next_task(store, number, now=now)
    assert task is not None
    assert task.item.is_quiz
    record(store, task.lease, number, Compared(preference=preference), now=now)


def test_a_third_who_has_a_link_is_waited_for(tmp_path: Path) -> None:
    store = divided(tmp_path, "ann", "bo", "cy")
    assert votes_expected(store) == {DIVIDED.key: 3, LONE.key: 2}
    do_quiz(store, "cy", 1)
    assert votes_expected(store)[DIVIDED.key] == 3


def test_who_cannot_vote_is_not_waited_for(tmp_path: Path) -> None:
    store = divided(tmp_path, "ann", "bo")
    assert votes_expected(store)[DIVIDED.key] == 2  # dee has no link
    people.invite(store, ["cy"])
    do_quiz(store, "cy", -1)
    assert votes_expected(store)[DIVIDED.key] == 2
    people.invite(store, ["eve"])
    assert votes_expected(store)[DIVIDED.key] == 3
    people.revoke(store, "eve")
    assert votes_expected(store) == {DIVIDED.key: 2, LONE.key: 2}
    assert can_vote(store) == {number_of(store, "ann"), number_of(store, "bo")}


@pytest.mark.parametrize("preference", [1, -1])
def test_votes_of_people_who_can_give_no_more_count(tmp_path: Path, preference: int) -> None:
    """Cy's vote was the third, and is still when all three are shut out."""
    store = divided(tmp_path, "ann", "bo", "cy")
    store.add_labels([LabelledItem(item=DIVIDED, labels=(vote("cy", preference),))])
    for name in ("ann", "bo", "cy"):
        people.revoke(store, name)
    assert votes_expected(store) == {DIVIDED.key: 3, LONE.key: 2}


def test_the_overlap_is_waited_for_before_anyone_is_invited(tmp_path: Path) -> None:
    assert votes_expected(project(tmp_path, [LONE], ())) == {LONE.key: 2}
