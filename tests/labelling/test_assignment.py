"""Who gets what, when: overlap, leases, known answers, the quiz, and that no label is lost, doubled or moved."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.labelling.world import gold_pair, grade, graded, number_of, pair, project, quiz_pair, taken_is_true

from trimtab.errors import LabellingError
from trimtab.labelling.assignment import (
    Task,
    add_turns,
    is_right,
    keep_draft,
    next_task,
    progress,
    record,
    record_second,
    task_of,
)
from trimtab.labelling.records import Answer, Compared, Item, Label, LabelledItem, Ranked, TooHard, Turn
from trimtab.labelling.settings import Settings, write_settings
from trimtab.labelling.store import Store
from trimtab.labelling.votes_wanted import disagree

NOON = 1_000_000.0
MINUTE = 60.0
FIRST = Compared(preference=1)
SECOND = Compared(preference=-1)


def label(store: Store, name: str, answer: Answer = FIRST, now: float = NOON) -> Task | None:
    """Have someone label what comes next for them."""
    person = number_of(store, name)
    task = next_task(store, person, now=now)
    if task is not None:
        assert record(store, task.lease, person, answer, now=now + 5)
    return task


def votes(store: Store) -> Counter[str]:
    return Counter({entry.item.key: len(entry.labels) for entry in store.labelled_items()})


def test_every_item_gets_its_votes_from_different_people(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(n) for n in range(5)], ("ann", "bo", "cy"), overlap=2)
    while any(label(store, name) for name in ("ann", "bo", "cy")):
        pass
    assert set(votes(store).values()) == {2}
    for entry in store.labelled_items():
        assert len({label.annotator for label in entry.labels}) == 2


def test_items_that_were_begun_are_finished_first(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(n) for n in range(10)], overlap=2)
    begun = {label(store, "ann").item.key for _ in range(3)}
    assert {label(store, "bo").item.key for _ in range(3)} == begun


def test_a_task_that_is_open_comes_again_in_the_same_order(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(n) for n in range(10)])
    ann = number_of(store, "ann")
    first = next_task(store, ann, now=NOON)
    assert next_task(store, ann, now=NOON + MINUTE) == first


def test_both_orders_are_shown(tmp_path: Path) -> None:
    """Of 64 shuffles of two at least one is of either kind, but for one time in 2^63."""
    store = project(tmp_path, [pair(n) for n in range(64)])
    assert {label(store, "ann").shown for _ in range(64)} == {(0, 1), (1, 0)}


def test_an_item_is_kept_for_who_opened_it_and_no_longer_than_its_lease(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1)], overlap=1, lease_minutes=30)
    ann, bo = number_of(store, "ann"), number_of(store, "bo")
    assert next_task(store, ann, now=NOON) is not None
    assert next_task(store, bo, now=NOON + 29 * MINUTE) is None
    assert next_task(store, bo, now=NOON + 31 * MINUTE) is not None


def test_an_answer_after_the_lease_is_taken_and_counts(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1), pair(2)], overlap=1)
    ann, bo = number_of(store, "ann"), number_of(store, "bo")
    late = next_task(store, ann, now=NOON)
    assert late is not None
    while (task := next_task(store, bo, now=NOON + 60 * MINUTE)) is not None and task.item != late.item:
        record(store, task.lease, bo, FIRST, now=NOON + 60 * MINUTE)
    assert record(store, late.lease, ann, SECOND, now=NOON + 61 * MINUTE)
    assert (
        store.read("SELECT taken FROM items WHERE key = ?", late.item.key)[0]["taken"] == 2
    )  # bo's lease, ann's label


def test_the_same_form_sent_twice_is_one_label_and_the_first_stays(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1)])
    ann = number_of(store, "ann")
    task = next_task(store, ann, now=NOON)
    assert record(store, task.lease, ann, FIRST, now=NOON)
    assert not record(store, task.lease, ann, SECOND, now=NOON)
    (entry,) = store.labelled_items()
    assert [label.answer for label in entry.labels] == [FIRST]


def test_a_task_of_somebody_else_is_refused(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1)])
    task = next_task(store, number_of(store, "ann"), now=NOON)
    for attempt in (
        lambda bo: record(store, task.lease, bo, FIRST, now=NOON),
        lambda bo: record_second(store, task.lease, bo, FIRST),
        lambda bo: task_of(store, task.lease, bo),
    ):
        with pytest.raises(LabellingError, match="not given to you"):
            attempt(number_of(store, "bo"))
    keep_draft(store, task.lease, number_of(store, "bo"), "mine")
    assert task_of(store, task.lease, number_of(store, "ann")).draft == ""
    assert not add_turns(store, task.lease, number_of(store, "bo"), (Turn(role="user", content="x"),), after=0)


def test_an_answer_to_another_kind_is_refused(tmp_path: Path) -> None:
    store = project(tmp_path, [graded(1)])
    ann = number_of(store, "ann")
    task = next_task(store, ann, now=NOON)
    with pytest.raises(LabellingError, match="kind compare to an item of kind grade"):
        record(store, task.lease, ann, FIRST, now=NOON)
    assert record(store, task.lease, ann, TooHard(), now=NOON)


def test_votes_that_disagree_ask_for_one_more_and_no_second_one_more(tmp_path: Path) -> None:
    names = ("ann", "bo", "cy", "di")
    store = project(tmp_path, [pair(1)], names, overlap=2)
    for name, answer in zip(names, (FIRST, SECOND, FIRST, SECOND), strict=True):
        label(store, name, answer)
    assert list(votes(store).values()) == [3]
    calm = project(tmp_path / "calm", [pair(1)], names, overlap=2)
    for name in names:
        label(calm, name)
    assert list(votes(calm).values()) == [2]
    off = project(tmp_path / "off", [pair(1)], names, overlap=2, extra_vote=False)
    for name, answer in zip(names, (FIRST, SECOND, FIRST, SECOND), strict=True):
        label(off, name, answer)
    assert list(votes(off).values()) == [2]


def test_labels_from_elsewhere_that_disagree_ask_for_one_more_too(tmp_path: Path) -> None:
    store = project(tmp_path, [], ("cy", "di"), overlap=2)
    given = (Label(annotator="ann", answer=FIRST), Label(annotator="bo", answer=SECOND))
    store.add_labels([LabelledItem(item=pair(1), labels=given)])
    for name in ("cy", "di"):
        label(store, name, FIRST)
    assert list(votes(store).values()) == [3]


def test_another_overlap_holds_for_items_that_are_there(tmp_path: Path) -> None:
    """One item with two votes that agree, one with two that do not; known answers are asked of everybody as before."""
    store = project(tmp_path, [gold_pair(9)], (), overlap=2)
    agreed = (Label(annotator="ann", answer=FIRST), Label(annotator="bo", answer=FIRST))
    disagreed = (agreed[0], Label(annotator="bo", answer=SECOND))
    store.add_labels(LabelledItem(item=pair(n), labels=labels) for n, labels in enumerate((agreed, disagreed)))
    wanted = []
    for overlap in (2, 3, 1):
        write_settings(tmp_path, store.settings.model_copy(update={"overlap": overlap}))
        again = Store.open(tmp_path)
        again.apply_settings()
        wanted.append([row["wanted"] for row in again.read("SELECT wanted FROM items ORDER BY id")])
    assert wanted == [[None, 2, 3], [None, 3, 3], [None, 1, 1]]


def test_settings_that_lie_there_are_kept(tmp_path: Path) -> None:
    write_settings(tmp_path, Settings(title="Mine", overlap=4))
    assert Store.create(tmp_path, Settings(title="Other")).settings == Settings(title="Mine", overlap=4)
    assert Store.open(tmp_path).settings.overlap == 4


def test_what_counts_as_disagreement() -> None:
    assert not disagree([Compared(preference=1), Compared(preference=2)])
    assert disagree([Compared(preference=1), Compared(preference=0)])
    assert not disagree([Compared(preference=1), TooHard()])
    assert not disagree([grade(3), grade(4)])
    assert disagree([grade(3), grade(5)])
    assert not disagree([Ranked(tiers=((0, 1), (2,))), Ranked(tiers=((1, 0), (2,)))])
    assert disagree([Ranked(tiers=((0,), (1,))), Ranked(tiers=((1,), (0,)))])


def test_known_answers_come_in_their_share_to_everyone(tmp_path: Path) -> None:
    """A share of a fifth: of 50 items 10 are gold, for each of both."""
    items = [pair(n) for n in range(100)] + [gold_pair(1000 + n) for n in range(20)]
    store = project(tmp_path, items, gold_share=0.2, overlap=2)
    for name in ("ann", "bo"):
        seen = [label(store, name).item for _ in range(50)]
        assert sum(item.gold is not None for item in seen) == 10


def test_nobody_can_tell_known_answers_by_their_place_or_learn_their_order(tmp_path: Path) -> None:
    """One in each ten, at places that differ from ten to ten and from person to person, in orders of their own."""
    items = [pair(n) for n in range(60)] + [gold_pair(1000 + n) for n in range(6)]
    store = project(tmp_path, items, gold_share=0.1, overlap=2)
    places, orders = {}, {}
    for name in ("ann", "bo"):
        seen = [label(store, name).item for _ in range(60)]
        places[name] = [n for n, item in enumerate(seen) if item.gold is not None]
        orders[name] = [item.key for item in seen if item.gold is not None]
    assert [n // 10 for n in places["ann"]] == [n // 10 for n in places["bo"]] == [0, 1, 2, 3, 4, 5]
    assert len({n % 10 for n in places["ann"]}) > 2
    assert places["ann"] != places["bo"]
    assert sorted(orders["ann"]) == sorted(orders["bo"])
    assert orders["ann"] != orders["bo"]


def test_a_known_answer_that_was_not_given_in_time_comes_again(tmp_path: Path) -> None:
    """What is offered depends on what a person has labelled, not on how often they ask."""
    items = [pair(n) for n in range(20)] + [gold_pair(1000 + n) for n in range(9)]
    store = project(tmp_path, items, gold_share=0.5)
    ann, now, found = number_of(store, "ann"), NOON, 0
    for _ in range(8):
        task = next_task(store, ann, now=now)
        now += 31 * MINUTE
        again = next_task(store, ann, now=now)
        assert again.item == task.item
        found += again.item.gold is not None
        record(store, again.lease, ann, FIRST, now=now)
    assert found == 4


def test_the_quiz_comes_first_and_must_be_passed(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1), quiz_pair(2), quiz_pair(3)], quiz_pass=0.7)
    ann, bo = number_of(store, "ann"), number_of(store, "bo")
    assert progress(store, ann).in_quiz
    assert all(label(store, "ann", FIRST).item.is_quiz for _ in range(2))
    assert (progress(store, ann).quiz_right, progress(store, ann).labelled) == (2, 0)
    assert not label(store, "ann").item.is_quiz
    assert label(store, "bo", FIRST).item.is_quiz
    assert label(store, "bo", SECOND).item.is_quiz
    assert progress(store, bo).quiz_right == 1  # of 2, and 0.7 are asked for
    assert next_task(store, bo, now=NOON) is None


def test_the_second_vote_stands_beside_the_first(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1)])
    ann = number_of(store, "ann")
    task = next_task(store, ann, now=NOON)
    assert not record_second(store, task.lease, ann, SECOND)  # there is no first one yet
    record(store, task.lease, ann, FIRST, now=NOON)
    assert record_second(store, task.lease, ann, SECOND)
    assert not record_second(store, task.lease, ann, FIRST)
    (entry,) = store.labelled_items()
    assert (entry.labels[0].answer, entry.labels[0].after_aid, entry.labels[0].final) == (FIRST, SECOND, SECOND)


def test_a_second_vote_that_is_to_come_is_asked_for_until_it_is_there(tmp_path: Path) -> None:
    """Days later, too, and before a task that is open; not while the project shows no critiques."""
    items = [pair(n, critiques=("of first", "of second")) for n in range(3)]
    store = project(tmp_path, items, show_critiques=True, overlap=1)
    ann = number_of(store, "ann")
    late, later = next_task(store, ann, now=NOON), NOON + 31 * MINUTE
    next_task(store, number_of(store, "bo"), now=later)  # takes what ann had
    open_task = next_task(store, ann, now=later)
    record(store, late.lease, ann, FIRST, now=later)
    for now in (later, later + 9000 * MINUTE):
        again = next_task(store, ann, now=now)
        assert (again.item, again.shown, again.first_vote) == (late.item, late.shown, FIRST)
    write_settings(tmp_path, store.settings.model_copy(update={"show_critiques": False}))
    assert next_task(Store.open(tmp_path), ann, now=later).first_vote is None
    assert record_second(store, late.lease, ann, SECOND)
    assert next_task(store, ann, now=later).item == open_task.item
    assert taken_is_true(store)


def test_a_label_says_under_which_guidelines_and_how_long(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1), pair(2)])
    label(store, "ann")
    (tmp_path / "guidelines.md").write_text("# New rules\n")
    again = Store.open(tmp_path)
    again.notice_guidelines()
    label(again, "ann")
    labels = [label for entry in again.labelled_items() for label in entry.labels]
    assert sorted(label.guidelines for label in labels) == [1, 2]
    assert [label.seconds for label in labels] == [5.0, 5.0]
    assert again.guidelines(1)[1] != again.guidelines()[1] == "# New rules\n"


def test_a_label_has_the_guidelines_its_task_was_opened_under(tmp_path: Path) -> None:
    """Version 2 comes while a task is open: the label says 1. Opened anew after its lease, it says 2."""
    store = project(tmp_path, [pair(1)])
    ann, bo = number_of(store, "ann"), number_of(store, "bo")
    of_ann, of_bo = next_task(store, ann, now=NOON), next_task(store, bo, now=NOON)
    (tmp_path / "guidelines.md").write_text("# New rules\n")
    store.notice_guidelines()
    record(store, of_ann.lease, ann, FIRST, now=NOON)
    assert next_task(store, bo, now=NOON + 31 * MINUTE).lease == of_bo.lease
    record(store, of_bo.lease, bo, FIRST, now=NOON + 31 * MINUTE)
    (entry,) = store.labelled_items()
    assert {label.annotator: label.guidelines for label in entry.labels} == {"ann": 1, "bo": 2}


def test_a_dialogue_grows_by_what_follows_what_is_there(tmp_path: Path) -> None:
    store = project(tmp_path, [Item(kind="red_team")])
    ann = number_of(store, "ann")
    task = next_task(store, ann, now=NOON)
    said = (Turn(role="user", content="a"), Turn(role="assistant", content="b"))
    assert add_turns(store, task.lease, ann, said, after=0)
    assert not add_turns(store, task.lease, ann, said, after=0)  # sent twice
    assert task_of(store, task.lease, ann).turns == said


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["open", "take", "late"]), st.booleans()), max_size=40),
    st.integers(1, 3),
)
def test_whatever_people_do_counts_stay_true(
    tmp_path_factory: pytest.TempPathFactory, acts: list, overlap: int
) -> None:
    """After any sequence of opening, answering and coming too late, `taken` is labels plus live leases."""
    names = ("ann", "bo", "cy", "di")
    store = project(tmp_path_factory.mktemp("p"), [pair(n) for n in range(4)], names, overlap=overlap)
    now, open_tasks = NOON, {}
    for who, act, first in acts:
        person = number_of(store, names[who])
        now += 40 * MINUTE if act == "late" else 1.0
        if act == "open" or person not in open_tasks:
            task = next_task(store, person, now=now)
            if task is not None:
                open_tasks[person] = task
        else:
            task = open_tasks.pop(person)
            record(store, task.lease, person, FIRST if first else SECOND, now=now)
    for row in store.read(
        "SELECT taken, (SELECT COUNT(*) FROM labels WHERE item = items.id) AS labels, "
        "(SELECT COUNT(*) FROM leases WHERE item = items.id AND state = 'live') AS live FROM items"
    ):
        assert row["taken"] == row["labels"] + row["live"]


def test_many_at_once(tmp_path: Path) -> None:
    """Eight people in eight threads on thirty items: each gets its three votes, and nobody errs."""
    names = tuple("abcdefgh")
    store = project(tmp_path, [pair(n) for n in range(30)], names, overlap=3, extra_vote=False)
    wrong: list[BaseException] = []

    def work(name: str) -> None:
        try:
            while label(store, name) is not None:
                pass
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(votes(store).values()) == {3}


def test_a_label_that_is_imported_while_its_task_is_open_ends_the_task(tmp_path: Path) -> None:
    """Or the person would be shown that task again and again, and every answer to it would be thrown away."""
    store = project(tmp_path, [pair(1), pair(2)], overlap=2)
    ann = number_of(store, "ann")
    task = next_task(store, ann, now=NOON)
    imported = LabelledItem(item=task.item, labels=(Label(annotator="ann", answer=SECOND),))
    assert store.add_labels([imported]) == 1
    assert taken_is_true(store)
    assert not record(store, task.lease, ann, FIRST, now=NOON)  # the page was still open
    following = next_task(store, ann, now=NOON)
    assert following is not None
    assert following.item != task.item
    assert taken_is_true(store)


def test_a_label_that_is_imported_after_the_lease_counts_once(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1)], overlap=1, lease_minutes=30)
    ann, bo = number_of(store, "ann"), number_of(store, "bo")
    task = next_task(store, ann, now=NOON)
    assert next_task(store, bo, now=NOON + 31 * MINUTE) is not None  # ann's has run out
    store.add_labels([LabelledItem(item=task.item, labels=(Label(annotator="ann", answer=SECOND),))])
    assert taken_is_true(store)
    assert store.read("SELECT taken FROM items")[0]["taken"] == 2  # ann's label, bo's lease


def test_that_nobody_can_judge_it_can_be_the_known_answer() -> None:
    assert is_right(TooHard(reason="mine"), TooHard())
    assert not is_right(FIRST, TooHard())
    assert not is_right(TooHard(), FIRST)


def test_a_clock_that_jumps_gives_nothing_away_twice_and_takes_nothing_back(tmp_path: Path) -> None:
    """A day forward: leases end, answers still count. Back again: no negative time, and the lease can be used."""
    store = project(tmp_path, [pair(1), pair(2)], overlap=1)
    ann, bo = number_of(store, "ann"), number_of(store, "bo")
    early = next_task(store, ann, now=NOON)
    assert next_task(store, bo, now=NOON + 24 * 60 * MINUTE) is not None
    assert record(store, early.lease, ann, FIRST, now=NOON - 24 * 60 * MINUTE)
    assert taken_is_true(store)
    (label,) = [label for entry in store.labelled_items() for label in entry.labels]
    assert label.seconds == 0
    later = next_task(store, bo, now=NOON - 24 * 60 * MINUTE)
    assert record(store, later.lease, bo, FIRST, now=NOON)
    assert taken_is_true(store)
