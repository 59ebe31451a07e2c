"""Which item comes next for whom, and taking the answer: each item to as many people as it needs, none twice to one.

Opening an item leases it. A lease that runs out gives the item to others; whoever had it may still answer, as an answer
is never thrown away.
"""

from __future__ import annotations

import json
import random
import sqlite3
from dataclasses import dataclass

from trimtab.errors import LabellingError
from trimtab.labelling.records import Answer, Compared, Graded, Item, Label, Ranked, TooHard, Turn, misfit
from trimtab.labelling.store import Store, insert_label, read_answer, utc_now
from trimtab.labelling.votes_wanted import direction, settle_votes
from trimtab.seeds import mix

GOLD_PLACE, GOLD_ORDER = 0, 1
"""Streams of chance of each annotator."""


@dataclass(frozen=True, slots=True)
class Task:
    """An item as it is shown to one person. `shown[i]` is the number of the response at place i."""

    lease: int
    item: Item
    shown: tuple[int, ...]
    draft: str
    turns: tuple[Turn, ...]
    first_vote: Answer | None
    """The vote before the critiques, when the second is asked for."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a person is. `in_quiz` until the quiz is done; `quiz_right` of `quiz_total` were right."""

    labelled: int
    quiz_done: int
    quiz_right: int
    quiz_total: int

    @property
    def in_quiz(self) -> bool:
        """Whether items of the quiz are left."""
        return self.quiz_done < self.quiz_total


def next_task(store: Store, annotator: int, *, now: float) -> Task | None:
    """What a person began, else a new task, leased to them; None when there is none for them (now).

    A vote after the critiques that is still to come is first: the task then has its `first_vote`.
    """
    with store.write() as db:
        _release_expired(db, now)
        until = now + 60 * store.settings.lease_minutes
        row = _begun(db, store, annotator, until)
        if row is None:
            item = _choose(db, store, annotator)
            row = None if item is None else _lease(db, item, annotator, now, until)
    return None if row is None else _task(store, row)


def task_of(store: Store, lease: int, annotator: int) -> Task:
    """The task of a person's own lease, whatever its state. Raises `LabellingError` if they have no such lease."""
    rows = []
    if lease < 2**63:  # the largest number SQLite takes
        rows = store.read("SELECT * FROM leases WHERE id = ? AND annotator = ?", lease, annotator)
    if not rows:
        raise LabellingError("this task was not given to you")
    return _task(store, rows[0])


def record(store: Store, lease: int, annotator: int, answer: Answer, *, now: float) -> bool:
    """Take an answer, in the item's order. False if this person has labelled the item before: the first answer stays.

    Raises `LabellingError` for an answer that does not fit the item, or somebody else's lease.
    """
    task = task_of(store, lease, annotator)
    if problem := misfit(answer, task.item):
        raise LabellingError(problem)
    with store.write() as db:
        row = db.execute("SELECT * FROM leases WHERE id = ?", (lease,)).fetchone()
        label = Label(
            annotator="",
            answer=answer,
            order=task.shown,
            guidelines=row["guidelines"],
            seconds=max(now - row["opened"], 0.0),
            at=utc_now(),
        )
        if not insert_label(db, row["item"], annotator, label):
            return False
        if shows_critiques(store, task.item):
            db.execute("UPDATE leases SET state = 'second' WHERE id = ?", (lease,))
        settle_votes(db, store.settings, row["item"])
    return True


def shows_critiques(store: Store, item: Item) -> bool:
    """Whether people see the critiques of an item after their first vote, and vote again."""
    return store.settings.show_critiques and bool(item.critiques) and not item.is_quiz and item.kind != "edit"


def record_second(store: Store, lease: int, annotator: int, answer: Answer) -> bool:
    """Take the vote after the critiques; the first vote stays beside it. False if there is one already."""
    task = task_of(store, lease, annotator)
    if problem := misfit(answer, task.item):
        raise LabellingError(problem)
    with store.write() as db:
        changed = db.execute(
            "UPDATE labels SET after_aid = ? WHERE annotator = ? AND after_aid IS NULL AND item = "
            "(SELECT item FROM leases WHERE id = ?)",
            (answer.model_dump_json(), annotator, lease),
        )
        if changed.rowcount == 1:
            db.execute("UPDATE leases SET state = 'done' WHERE id = ?", (lease,))
    return changed.rowcount == 1


def keep_draft(store: Store, lease: int, annotator: int, text: str) -> None:
    """Keep what a person has typed so far, so that closing the browser loses nothing."""
    with store.write() as db:
        db.execute(
            "UPDATE leases SET draft = ? WHERE id = ? AND annotator = ? AND state != 'done'", (text, lease, annotator)
        )


def add_turns(store: Store, lease: int, annotator: int, turns: tuple[Turn, ...], *, after: int) -> bool:
    """Append turns to a dialogue that has `after` of them; False if it has another number by now (a double click)."""
    with store.write() as db:
        row = db.execute(
            "SELECT turns FROM leases WHERE id = ? AND annotator = ? AND state != 'done'", (lease, annotator)
        ).fetchone()
        held = [] if row is None else json.loads(row["turns"])
        if row is None or len(held) != after:
            return False
        held += [turn.model_dump() for turn in turns]
        db.execute("UPDATE leases SET turns = ? WHERE id = ?", (json.dumps(held), lease))
    return True


def progress(store: Store, annotator: int) -> Progress:
    """How far a person is."""
    rows = store.read(
        "SELECT items.record, labels.answer FROM items LEFT JOIN labels ON labels.item = items.id AND annotator = ? "
        "WHERE is_quiz AND wanted IS NULL",
        annotator,
    )
    answered = [row for row in rows if row["answer"] is not None]
    right = sum(is_right(read_answer(row["answer"]), Item.model_validate_json(row["record"]).gold) for row in answered)
    labelled = store.read("SELECT COUNT(*) AS n FROM labels WHERE annotator = ?", annotator)[0]["n"]
    return Progress(labelled - len(answered), len(answered), right, len(rows))


def is_right(answer: Answer, gold: Answer | None) -> bool:
    """Whether an answer agrees with the known one: in its direction, its order, or within a point of the scale."""
    if isinstance(answer, Compared) and isinstance(gold, Compared):
        return direction(answer.preference) == direction(gold.preference)
    if isinstance(answer, Ranked) and isinstance(gold, Ranked):
        return [set(tier) for tier in answer.tiers] == [set(tier) for tier in gold.tiers]
    if isinstance(answer, Graded) and isinstance(gold, Graded):
        return abs(answer.score - gold.score) <= 1
    return isinstance(answer, TooHard) and isinstance(gold, TooHard)


def _release_expired(db: sqlite3.Connection, now: float) -> None:
    expired = db.execute(
        "UPDATE leases SET state = 'expired' WHERE state = 'live' AND until < ? RETURNING item", (now,)
    ).fetchall()
    for row in expired:
        db.execute("UPDATE items SET taken = taken - 1 WHERE id = ?", (row["item"],))


def _begun(db: sqlite3.Connection, store: Store, annotator: int, until: float) -> sqlite3.Row | None:
    """The lease whose second vote is awaited, else the one that is open, which now holds `until` then."""
    row: sqlite3.Row | None = None
    if store.settings.show_critiques:
        row = db.execute(
            "SELECT * FROM leases WHERE annotator = ? AND state = 'second' ORDER BY id LIMIT 1", (annotator,)
        ).fetchone()
    if row is None:
        row = db.execute(
            "UPDATE leases SET until = ? WHERE id = (SELECT id FROM leases WHERE annotator = ? AND state = 'live' "
            "ORDER BY id LIMIT 1) RETURNING *",
            (until, annotator),
        ).fetchone()
    return row


def _choose(db: sqlite3.Connection, store: Store, annotator: int) -> int | None:
    """The quiz first; a known answer now and then; else the item that needs the fewest more votes."""
    unseen = "NOT EXISTS (SELECT 1 FROM labels WHERE labels.item = items.id AND labels.annotator = ?)"
    golden = f"SELECT id FROM items WHERE wanted IS NULL AND is_quiz = ? AND {unseen} ORDER BY place"
    done = progress(store, annotator)
    if not done.in_quiz and not _passed(store, done):
        return None
    if done.in_quiz:
        return int(db.execute(golden, (True, annotator)).fetchone()["id"])
    if _gold_given(db, annotator) < _gold_due(annotator, done.labelled, store.settings.gold_share):
        left = [int(row["id"]) for row in db.execute(golden, (False, annotator))]
        if left:
            return min(left, key=lambda item: _drawn(annotator, GOLD_ORDER, item))
    row = db.execute(
        f"SELECT id FROM items WHERE taken < wanted AND {unseen} ORDER BY priority DESC, taken DESC, place LIMIT 1",
        (annotator,),
    ).fetchone()
    return None if row is None else int(row["id"])


def passed_quiz(store: Store, annotator: int) -> bool:
    """Whether a person has done the quiz and got enough of it right. Without a quiz everyone has."""
    return _passed(store, progress(store, annotator))


def _passed(store: Store, done: Progress) -> bool:
    return not done.in_quiz and done.quiz_right >= store.settings.quiz_pass * done.quiz_total


def _gold_due(annotator: int, labelled: int, share: float) -> int:
    """How many known answers a person should have had after their next item: one in each 1 / `share` items.

    Its place there is drawn for the person and the block, so that nobody can count to it, and a reload gives it again.
    """
    block, reached = divmod(labelled * share, 1)
    return int(block) + (reached + share > _drawn(annotator, GOLD_PLACE, int(block)))


def _drawn(*stream: int) -> float:
    """A number from 0 to 1 by chance, the same whenever it is asked for."""
    return random.Random(mix(*stream)).random()


def _gold_given(db: sqlite3.Connection, annotator: int) -> int:
    """How many items with a known answer a person has labelled, the quiz left out."""
    (number,) = db.execute(
        "SELECT COUNT(*) FROM items JOIN labels ON labels.item = items.id AND annotator = ? "
        "WHERE wanted IS NULL AND NOT is_quiz",
        (annotator,),
    ).fetchone()
    return int(number)


def _lease(db: sqlite3.Connection, item: int, annotator: int, now: float, until: float) -> sqlite3.Row:
    """Lease an item to a person; one they had before comes back as they left it, in the same order."""
    record = Item.model_validate_json(db.execute("SELECT record FROM items WHERE id = ?", (item,)).fetchone()[0])
    shown = list(range(len(record.responses)))
    random.SystemRandom().shuffle(shown)
    row: sqlite3.Row = db.execute(
        "INSERT INTO leases (item, annotator, shown, guidelines, opened, until, state) "
        "VALUES (?, ?, ?, (SELECT COALESCE(MAX(version), 0) FROM guidelines), ?, ?, 'live') "
        "ON CONFLICT (item, annotator) DO UPDATE SET state = 'live', until = excluded.until, opened = excluded.opened, "
        "guidelines = excluded.guidelines RETURNING *",
        (item, annotator, json.dumps(shown), now, until),
    ).fetchone()
    db.execute("UPDATE items SET taken = taken + 1 WHERE id = ?", (item,))
    return row


def _task(store: Store, row: sqlite3.Row) -> Task:
    votes = store.read(
        "SELECT answer FROM labels WHERE item = ? AND annotator = ? AND after_aid IS NULL",
        row["item"],
        row["annotator"],
    )
    return Task(
        lease=row["id"],
        item=store.item(row["item"]),
        shown=tuple(json.loads(row["shown"])),
        draft=row["draft"],
        turns=tuple(Turn.model_validate(turn) for turn in json.loads(row["turns"])),
        first_vote=read_answer(votes[0]["answer"]) if votes else None,
    )
