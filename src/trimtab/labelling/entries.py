"""Rows of a file on their way to becoming items and labels: what was read of each, or why it could not be.

Every format's reader gives entries; `checked` goes through them and tells of the bad ones, as all of trimtab's readers
do: with file, line and reason, the first five of them by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from trimtab.data.files import Place, Row
from trimtab.data.formats import BadRow
from trimtab.data.messages import RowError
from trimtab.errors import DataError
from trimtab.labelling.records import NUM_RESPONSES, Item, LabelledItem, misfit

MOST_BYTES = 10_000_000
"""The longest row that is read. A longer one is a file without line ends, or nothing a person could read."""
_SHOWN = 5
# The tag by which pydantic chose among answers is in an error's location, but is no field.
_TAGS = {*NUM_RESPONSES, "too_hard"}
_MESSAGES = {"missing": "is missing", "extra_forbidden": "there is no such field"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row's place, and what it says or why that cannot be read."""

    place: Place
    labelled: tuple[LabelledItem, ...] = ()
    problem: str = ""


def entry(row: Row, parse: Callable[[Mapping[str, Any]], Iterable[LabelledItem]]) -> Entry:
    """Read a row, with `parse` to say what is in it. Whatever is wrong with the row becomes its problem."""
    try:
        if row.problem:
            raise RowError(row.problem)
        require_short(row.length)
        labelled = tuple(parse(row.value))
        for one in labelled:
            _require_fit(one)
    except ValidationError as error:
        return Entry(row.place, problem=in_words(error))
    except RowError as error:
        return Entry(row.place, problem=str(error))
    return Entry(row.place, labelled)


def require_short(characters: int) -> None:
    """Raise `RowError` for a row that is longer than anyone reads. A character has a byte at least."""
    if characters > MOST_BYTES:
        raise RowError(f"the row has {characters:,} characters; up to {MOST_BYTES:,} are read. Shorten or split it")


def in_words(error: ValidationError) -> str:
    """What is wrong with a record: each field by its name, with the reason."""
    problems = []
    for found in error.errors(include_url=False):
        steps = [step for step in found["loc"] if step not in _TAGS]
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
        message = _MESSAGES.get(found["type"]) or found["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {message[:1].lower()}{message[1:]}" if where else message)
    return "; ".join(problems)


def checked(entries: Iterable[Entry], source: str, name: str, *, skip_bad: bool = False) -> Iterator[LabelledItem]:
    """The items of good rows, in order.

    Raises `DataError` at the end when a row was bad, unless those are skipped, when there is not one item, and when two
    rows give one id to different items.
    """
    bad: list[BadRow] = []
    num_rows = num_bad = num_items = 0
    seen: dict[str, tuple[bytes, Place]] = {}
    for found in entries:
        num_rows += 1
        problem = found.problem or _clash(found, seen)
        if problem:
            num_bad += 1
            bad += [BadRow(found.place, problem)] if num_bad <= _SHOWN else []
        elif skip_bad or not num_bad:
            num_items += len(found.labelled)
            yield from found.labelled
    if num_bad and not skip_bad:
        raise DataError(_listed(bad, num_bad, num_rows, source, name))
    if not num_items:
        why = f": all {num_bad} are bad as {name}. The first, {bad[0]}" if num_bad else ""
        raise DataError(f"{source} holds not one item to label{why}.")


def content(item: Item) -> bytes:
    """A hash of what people see of an item."""
    shown = [item.kind, [(turn.role, turn.content) for turn in item.prompt], item.responses]
    return hashlib.sha256(json.dumps(shown).encode()).digest()


def _require_fit(one: LabelledItem) -> None:
    for number, label in enumerate(one.labels):
        for name, answer in (("answer", label.answer), ("after_aid", label.after_aid)):
            if answer is not None and (problem := misfit(answer, one.item)):
                raise RowError(f"labels[{number}].{name}: {problem}")
        if label.order and sorted(label.order) != list(range(len(one.item.responses))):
            raise RowError(f"labels[{number}].order must name each of the {len(one.item.responses)} responses once")


def _clash(found: Entry, seen: dict[str, tuple[bytes, Place]]) -> str:
    """Why an item of this row cannot have its id; its id is noted if it can."""
    for one in found.labelled:
        hashed = content(one.item)
        earlier, first = seen.setdefault(one.item.key, (hashed, found.place))
        if hashed != earlier:
            return f"the id {one.item.key!r} was given to another item in {first.unit} {first.number}; ids are unique"
    return ""


def _listed(bad: list[BadRow], num_bad: int, num_rows: int, source: str, name: str) -> str:
    lines = "\n".join(f"  {row}" for row in bad)
    more = f"\n  and {num_bad - len(bad)} more" if num_bad > len(bad) else ""
    return (
        f"{num_bad} of {num_rows} rows of {source} cannot be read as {name}:\n{lines}{more}\n"
        "Nothing was taken in. Mend these rows, or leave them out: --skip-bad, in Python skip_bad=True."
    )
