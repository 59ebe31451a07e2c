"""Where a project's items and labels are kept: one SQLite file, safe against a kill or a power cut at any time.

A label is acknowledged after its transaction is on the disk. That nobody labels an item twice is a constraint of the
database, not a promise of the program.
"""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from trimtab.errors import LabellingError
from trimtab.labelling.flush import Flush
from trimtab.labelling.records import ANSWER, Answer, Item, Label, LabelledItem
from trimtab.labelling.schema import TABLES, VERSION
from trimtab.labelling.settings import DATABASE, GUIDELINES, SETTINGS, Settings, read_settings, write_settings
from trimtab.labelling.votes_wanted import settle_votes

FIRST_GUIDELINES = """# How to judge

1. Read the whole prompt, then every answer.
2. The better answer does what was asked, is true, and harms no one. Length and tone come after that.
3. If you cannot judge, say so: that, too, tells us something.
"""


ADD_ITEM = (
    "INSERT INTO items (key, record, is_gold, is_quiz, priority, place, wanted) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (key) DO NOTHING"
)
LINKED = "NOT revoked AND length(token_hash) = 32"
"""Of annotators: their link works. Whoever only came with imported labels has a hash too short for any secret."""


class Store:
    """The database of one project. Any thread may use it; writes come one after the other."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self._local = threading.local()
        self._writing = threading.Lock()
        self._flush = Flush(folder / f"{DATABASE}-wal")

    @classmethod
    def create(cls, folder: Path, settings: Settings, guidelines: str = FIRST_GUIDELINES) -> Store:
        """Begin a project in a folder that has none. Settings and guidelines that lie there already are kept."""
        if (folder / DATABASE).exists():
            raise LabellingError(f"{folder} is a labelling project already")
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / SETTINGS).exists():
            settings = read_settings(folder)
        else:
            write_settings(folder, settings)
        if not (folder / GUIDELINES).exists():
            (folder / GUIDELINES).write_text(guidelines)
        store = cls(folder, settings)
        store._connection().executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        store.notice_guidelines()
        return store

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The project in a folder. Raises `LabellingError` when there is none, or one that is not understood."""
        settings = read_settings(folder)
        if not (folder / DATABASE).exists():
            raise LabellingError(f"{folder} has settings but no {DATABASE}: its items and labels are missing")
        store = cls(folder, settings)
        try:
            version = store.read("PRAGMA user_version")[0][0]
        except sqlite3.DatabaseError as error:
            raise LabellingError(f"{folder / DATABASE} is no database: {error}") from error
        if version != VERSION:
            raise LabellingError(f"{folder / DATABASE} has version {version}; this trimtab reads version {VERSION}")
        return store

    # Transactions ---------------------------------------------------------------------------------------------------

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query."""
        return self._connection().execute(query, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk when the block ends, or nothing of it if the block raises."""
        db = self._connection()
        with self._writing:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has ended it already
                    db.execute("ROLLBACK")
                raise
        self._flush()

    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        if not hasattr(self._local, "db"):
            db = sqlite3.connect(self.folder / DATABASE, timeout=30, isolation_level=None)
            db.row_factory = sqlite3.Row
            if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise LabellingError(f"{self.folder} is on a file system that cannot hold a labelling project")
            db.execute("PRAGMA synchronous = NORMAL")  # the log is flushed after the transaction: see `write`
            db.execute("PRAGMA foreign_keys = ON")
            self._local.db = db
        connection: sqlite3.Connection = self._local.db
        return connection

    # Guidelines -----------------------------------------------------------------------------------------------------

    def notice_guidelines(self) -> None:
        """Publish `guidelines.md` as a new version if it has changed. Only for serving: it may be half edited."""
        try:
            text = (self.folder / GUIDELINES).read_text()
        except OSError as error:
            raise LabellingError(f"{self.folder / GUIDELINES} cannot be read: {error}") from error
        if self.guidelines()[1] != text:
            with self.write() as db:
                db.execute("INSERT INTO guidelines (text, since) VALUES (?, ?)", (text, utc_now()))

    def guidelines(self, version: int | None = None) -> tuple[int, str]:
        """The newest guidelines, or those of a version: (version, text). (0, "") before there are any."""
        if version is None:
            rows = self.read("SELECT version, text FROM guidelines ORDER BY version DESC LIMIT 1")
        else:
            rows = self.read("SELECT version, text FROM guidelines WHERE version = ?", version)
        return (rows[0]["version"], rows[0]["text"]) if rows else (0, "")

    # Items and labels -----------------------------------------------------------------------------------------------

    def add_items(self, items: Iterable[Item], *, priority: float = 0.0) -> int:
        """Put items into the queue, in random order; returns how many were new. One that is there stays as it is."""
        rows = [self._row(item, priority) for item in items]  # first: who labels meanwhile must not wait for this
        with self.write() as db:
            return db.executemany(ADD_ITEM, rows).rowcount if rows else 0

    def add_labels(self, labelled: Iterable[LabelledItem]) -> int:
        """Take in labels given elsewhere, with their items; returns how many were new.

        Annotators who are not known become so, without a link. A second label of a person for an item is left out.
        """
        added = 0
        entries = [(entry, self._row(entry.item, 0.0)) for entry in labelled]
        with self.write() as db:
            for entry, row in entries:
                db.execute(ADD_ITEM, row)
                item = db.execute("SELECT id FROM items WHERE key = ?", (entry.item.key,)).fetchone()[0]
                for label in entry.labels:
                    added += insert_label(db, item, _named(db, label.annotator), label)
                settle_votes(db, self.settings, item)
        return added

    def apply_settings(self) -> None:
        """Ask of every item as many votes as the settings say now: they may be others than when it came in."""
        with self.write() as db:
            settle_votes(db, self.settings)

    def _row(self, item: Item, priority: float) -> tuple[Any, ...]:
        """An item as `ADD_ITEM` takes it."""
        everyone = item.gold is not None
        place = random.Random(item.key).getrandbits(31)  # a shuffle that stays the same however items come in
        wanted = None if everyone else self.settings.overlap
        return (item.key, item.model_dump_json(), everyone, item.is_quiz, priority, place, wanted)

    def item(self, number: int) -> Item:
        """The item of a row."""
        return Item.model_validate_json(self.read("SELECT record FROM items WHERE id = ?", number)[0]["record"])

    def labelled_items(self) -> Iterator[LabelledItem]:
        """Every item with its labels, in the order in which they came in."""
        rows = self._connection().execute(
            "SELECT items.id, items.record, annotators.name, labels.answer, labels.after_aid, labels.shown, "
            "labels.guidelines, labels.seconds, labels.at FROM items LEFT JOIN labels ON labels.item = items.id "
            "LEFT JOIN annotators ON annotators.id = labels.annotator ORDER BY items.id, labels.id"
        )
        for _, group in groupby(rows, key=lambda row: row["id"]):
            entries = list(group)
            labels = tuple(_label(row) for row in entries if row["answer"] is not None)
            yield LabelledItem(item=Item.model_validate_json(entries[0]["record"]), labels=labels)

    def annotators(self) -> list[str]:
        """Names of those who label, leads left out."""
        return [row["name"] for row in self.read("SELECT name FROM annotators WHERE NOT is_lead ORDER BY id")]

    def linked(self) -> dict[str, int]:
        """Those who label and whose link works, leads left out: their numbers by name."""
        rows = self.read(f"SELECT name, id FROM annotators WHERE NOT is_lead AND {LINKED} ORDER BY id")
        return {row["name"]: row["id"] for row in rows}

    def attributes(self) -> dict[str, dict[str, str]]:
        """What annotators said of themselves. Only for aggregates over at least five people."""
        found: dict[str, dict[str, str]] = {}
        for row in self.read(
            "SELECT annotators.name AS annotator, attributes.name, value FROM attributes "
            "JOIN annotators ON annotators.id = attributes.annotator"
        ):
            found.setdefault(row["annotator"], {})[row["name"]] = row["value"]
        return found

    def groups(self, attribute: str) -> dict[str, str]:
        """Each annotator's value of an attribute, of those who said. Only for aggregates, as above."""
        return {name: said[attribute] for name, said in self.attributes().items() if attribute in said}

    def counts(self) -> dict[str, int]:
        """How far the project is: items, those with enough votes, votes wanted and given, gold and quiz items."""
        row = self.read(
            "SELECT COUNT(*) FILTER (WHERE wanted IS NOT NULL) AS items, "
            "COUNT(*) FILTER (WHERE wanted IS NOT NULL AND votes >= wanted) AS done, "
            "COALESCE(SUM(wanted), 0) AS wanted, COALESCE(SUM(MIN(votes, wanted)), 0) AS given, "
            "COUNT(*) FILTER (WHERE is_gold AND NOT is_quiz) AS gold, COUNT(*) FILTER (WHERE is_quiz) AS quiz "
            "FROM (SELECT items.*, (SELECT COUNT(*) FROM labels WHERE item = items.id) AS votes FROM items)"
        )[0]
        labels = self.read("SELECT COUNT(*) AS n FROM labels")[0]["n"]
        return {name: row[name] or 0 for name in row.keys()} | {"labels": labels}  # noqa: SIM118 -- a row gives its values


def insert_label(db: sqlite3.Connection, item: int, annotator: int, label: Label) -> bool:
    """Insert a label unless there is one by this person for this item; whether it was inserted. Ends their lease."""
    inserted = db.execute(
        "INSERT INTO labels (item, annotator, answer, after_aid, shown, guidelines, seconds, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (item, annotator) DO NOTHING",
        (
            item,
            annotator,
            label.answer.model_dump_json(),
            None if label.after_aid is None else label.after_aid.model_dump_json(),
            json.dumps(label.order),
            label.guidelines,
            label.seconds,
            label.at or utc_now(),
        ),
    )
    if inserted.rowcount == 0:
        return False
    lease = db.execute("SELECT state FROM leases WHERE item = ? AND annotator = ?", (item, annotator)).fetchone()
    if lease is None or lease["state"] != "live":  # the place of a live lease becomes the label's
        db.execute("UPDATE items SET taken = taken + 1 WHERE id = ?", (item,))
    db.execute("UPDATE leases SET state = 'done', draft = '' WHERE item = ? AND annotator = ?", (item, annotator))
    return True


def read_answer(text: str) -> Answer:
    """An answer as the database keeps it."""
    return ANSWER.validate_json(text)


def utc_now() -> str:
    """The time, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _label(row: sqlite3.Row) -> Label:
    return Label(
        annotator=row["name"],
        answer=read_answer(row["answer"]),
        after_aid=None if row["after_aid"] is None else read_answer(row["after_aid"]),
        order=tuple(json.loads(row["shown"])),
        guidelines=row["guidelines"],
        seconds=row["seconds"],
        at=row["at"],
    )


def _named(db: sqlite3.Connection, name: str) -> int:
    """The annotator of this name, who is added without a link if there is none."""
    row = db.execute("SELECT id FROM annotators WHERE name = ?", (name,)).fetchone()
    if row is not None:
        return int(row["id"])
    nothing = random.SystemRandom().randbytes(16)  # no secret has so short a hash: see `LINKED`
    return int(
        db.execute(
            "INSERT INTO annotators (name, is_lead, token_hash) VALUES (?, 0, ?) RETURNING id", (name, nothing)
        ).fetchone()["id"]
    )
