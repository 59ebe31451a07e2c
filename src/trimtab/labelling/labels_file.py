"""`labels.jsonl`: one item with its labels a line. What is written is read back as it was (docs/labels.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trimtab.data.files import Row, read_rows
from trimtab.labelling.entries import Entry, checked, entry
from trimtab.labelling.records import LabelledItem
from trimtab.labelling.writing import replacing

NAME = "labels.jsonl"


def write_labels(path: Path, labelled: Iterable[LabelledItem]) -> int:
    """Write items with their labels, one a line; how many there were. A reader sees the old file or the new."""
    number = 0
    with replacing(path) as file:
        for one in labelled:
            file.write(one.model_dump_json() + "\n")
            number += 1
    return number


def read_labels(path: str | Path, *, skip_bad: bool = False) -> Iterator[LabelledItem]:
    """Items with their labels, one after the other. Raises `DataError` that names line and field of what is wrong."""
    return checked(entries(read_rows(path)), str(path), NAME, skip_bad=skip_bad)


def is_labels(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of this format."""
    item = row.get("item")
    return isinstance(item, Mapping) and "kind" in item


def entries(rows: Iterable[Row]) -> Iterator[Entry]:
    """What each row says."""
    return (entry(row, lambda value: [LabelledItem.model_validate(value)]) for row in rows)
