"""Whether those who label are like those the model is for: a pool of people beside a target population."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import DataError
from trimtab.evaluation.small_cells import FEWEST, Cell, showable
from trimtab.evaluation.statistics import Estimate, proportion

Attributes = Mapping[str, Mapping[str, str]]
"""What people said of themselves: by person, by attribute."""

_TARGET_COLUMNS = ["attribute", "value", "share"]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the pool that said a value (or one of several), the target's, and the pool's minus the target's."""

    value: str
    people: int
    pool: Estimate
    target: float
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Representation:
    """One attribute of a pool. `people` said something of it, None if fewer than five did.

    Without rows there are too few people for any number to be shown.
    """

    people: int | None
    rows: tuple[Share, ...]


def represent(values: Mapping[str, str], target: Mapping[str, float]) -> Representation:
    """A pool of people beside a population, for one attribute: what each person said, and the target's shares.

    Shares are of those who said something; values are compared as written. A value the target does not list has the
    share 0 there.
    """
    rows = []
    for cell in pool_cells(values, target):
        pool, expected = proportion(cell.people, len(values)), sum(target.get(value, 0.0) for value in cell.values)
        difference = Estimate(
            pool.value - expected, pool.low - expected, pool.high - expected, pool.n, "Wilson interval minus the target"
        )
        rows.append(Share(cell.name, cell.people, pool, expected, difference))
    return Representation(len(values) if len(values) >= FEWEST else None, tuple(rows))


def pool_cells(values: Mapping[str, str], target: Collection[str] = ()) -> list[Cell]:
    """How many people said each value, in cells that may be shown, the values of the target among them."""
    counts = Counter(values.values())
    return showable({value: counts[value] for value in {*counts, *target}})


def said(attributes: Attributes, attribute: str, people: Iterable[str]) -> dict[str, str]:
    """What these people said of one attribute; those who said nothing are left out."""
    found = {person: attributes.get(person, {}).get(attribute, "") for person in people}
    return {person: value for person, value in found.items() if value}


def read_target(file: Path) -> dict[str, dict[str, float]]:
    """A table of a population: columns attribute, value and share, from 0 to 1. Raises `DataError`."""
    target: dict[str, dict[str, float]] = {}
    for line, row in _rows(file):
        if sorted(row) != sorted(_TARGET_COLUMNS):
            raise DataError(f"{file}: the columns must be attribute,value,share; they are {','.join(row)}")
        shares = target.setdefault(row["attribute"], {})
        if row["value"] in shares:
            raise DataError(f"{file}, line {line}: {row['attribute']} {row['value']!r} has a share already")
        shares[row["value"]] = _share(row["share"], f"{file}, line {line}")
    for attribute, shares in target.items():
        if abs(sum(shares.values()) - 1.0) > 0.01:
            raise DataError(f"{file}: the shares of {attribute} must sum to 1, not {sum(shares.values()):.4g}")
    return target


def read_attributes(file: Path) -> dict[str, dict[str, str]]:
    """A table of people: column annotator and one an attribute; an empty cell says nothing. Raises `DataError`."""
    found: dict[str, dict[str, str]] = {}
    for line, row in _rows(file):
        name = row.pop("annotator", None)
        if not name or not row:
            raise DataError(f"{file}, line {line}: needs a column annotator, filled in, and one for each attribute")
        if name in found:
            raise DataError(f"{file}, line {line}: {name!r} has a row already")
        found[name] = {attribute: value for attribute, value in row.items() if value}
    return found


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with their lines, cells stripped."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV: {getattr(error, 'strerror', None) or error}") from error
    if not rows:
        raise DataError(f"{file} has no rows")
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{file}, line {line}: {len(row)} cells, but the header has {len(header)}")
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def _share(text: str, place: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise DataError(f"{place}: a share is a number from 0 to 1, such as 0.51, not {text!r}")
    return share
