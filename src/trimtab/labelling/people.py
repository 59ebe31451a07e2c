"""Who may do what: personal links, the sessions they open, and what people say of themselves.

Secrets have 128 bits and are kept as hashes, so whoever reads the database cannot sign in as anyone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trimtab.errors import LabellingError
from trimtab.labelling.store import LINKED, Store

SECRET_BYTES = 16
SESSION_DAYS = 30
LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who is signed in. `form_secret` stands in every form, so that no other site can send one."""

    id: int
    name: str
    is_lead: bool
    form_secret: str


def invite(store: Store, names: Iterable[str], *, is_lead: bool = False) -> dict[str, str]:
    """A new personal secret for each of these people, who are added if they are unknown. Older ones stop working.

    Raises `LabellingError` for a name that cannot be shown in one line.
    """
    with store.write() as db:
        return {name: _invite(db, name, is_lead) for name in names}


def give_links(store: Store, names: Iterable[str], *, renew: bool = False) -> dict[str, str]:
    """Secrets of those among `names` who have no link that works, and with `renew` of all who have one.

    The lead gets one with the first. If one cannot be given none is, so that no link ends before there is another.
    """
    with store.write() as db:
        known = db.execute(f"SELECT name, is_lead, {LINKED} AS linked FROM annotators ORDER BY is_lead DESC, id")
        rows = known.fetchall()
        leads = [row["name"] for row in rows if row["is_lead"]] or [LEAD]
        linked = [row["name"] for row in rows if row["linked"]]
        first = [] if any(row["is_lead"] for row in rows) else leads
        invited = [*first, *(linked if renew else []), *(name for name in names if name not in linked)]
        return {name: _invite(db, name, name in leads) for name in invited}


def _invite(db: sqlite3.Connection, name: str, is_lead: bool) -> str:
    if not name.strip() or len(name) > 60 or not name.isprintable():
        raise LabellingError(f"{name!r} is no name for an annotator: up to 60 printable characters")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    row = db.execute(
        "INSERT INTO annotators (name, is_lead, token_hash) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
        "token_hash = excluded.token_hash, revoked = 0 RETURNING id, is_lead",
        (name, is_lead, _hash(secret)),
    ).fetchone()
    if bool(row["is_lead"]) != is_lead:
        raise LabellingError(f"{name!r} is {'the lead' if row['is_lead'] else 'an annotator'} already")
    db.execute("DELETE FROM sessions WHERE annotator = ?", (row["id"],))
    return secret


def revoke(store: Store, name: str) -> None:
    """Shut someone out: their link and their open pages stop working, their labels stay."""
    with store.write() as db:
        row = db.execute("UPDATE annotators SET revoked = 1 WHERE name = ? RETURNING id", (name,)).fetchone()
        if row is None:
            known = ", ".join(store.annotators()) or "nobody yet"
            raise LabellingError(f"there is no annotator {name!r}; there are: {known}")
        db.execute("DELETE FROM sessions WHERE annotator = ?", (row["id"],))


def sign_in(store: Store, secret: str) -> str | None:
    """Open a session for whoever has this secret: the session's own secret, or None if nobody has."""
    with store.write() as db:
        row = db.execute("SELECT id FROM annotators WHERE token_hash = ? AND NOT revoked", (_hash(secret),)).fetchone()
        if row is None:
            return None
        session = secrets.token_urlsafe(SECRET_BYTES)
        db.execute(
            "INSERT INTO sessions (hash, annotator, form_secret, opened) VALUES (?, ?, ?, ?)",
            (_hash(session), row["id"], secrets.token_urlsafe(SECRET_BYTES), time.time()),
        )
        db.execute("DELETE FROM sessions WHERE opened < ?", (time.time() - SESSION_DAYS * 86400,))
        return session


def sign_out(store: Store, person: Person) -> None:
    """Close all of someone's sessions."""
    with store.write() as db:
        db.execute("DELETE FROM sessions WHERE annotator = ?", (person.id,))


def whose(store: Store, session: str) -> Person | None:
    """Who opened a session, if it is open."""
    rows: list[sqlite3.Row] = store.read(
        "SELECT annotators.id, name, is_lead, form_secret FROM sessions JOIN annotators ON annotators.id = annotator "
        "WHERE hash = ? AND opened > ? AND NOT revoked",
        _hash(session),
        time.time() - SESSION_DAYS * 86400,
    )
    if not rows:
        return None
    row = rows[0]
    return Person(row["id"], row["name"], bool(row["is_lead"]), row["form_secret"])


def is_genuine(person: Person, form_secret: str) -> bool:
    """Whether a form was made for this person's session."""
    return hmac.compare_digest(person.form_secret.encode(), form_secret.encode())


def describe(store: Store, person: Person, said: Mapping[str, str]) -> None:
    """Keep what someone says of themselves in place of what they said before; an empty value takes it back."""
    choices = {attribute.name: attribute.choices for attribute in store.settings.attributes}
    with store.write() as db:
        db.execute("DELETE FROM attributes WHERE annotator = ?", (person.id,))
        for name, value in said.items():
            if value and value in choices.get(name, ()):
                db.execute("INSERT INTO attributes (annotator, name, value) VALUES (?, ?, ?)", (person.id, name, value))


def own_attributes(store: Store, person: Person) -> dict[str, str]:
    """What someone said of themselves, for nobody else to see."""
    rows = store.read("SELECT name, value FROM attributes WHERE annotator = ?", person.id)
    return {row["name"]: row["value"] for row in rows}


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
