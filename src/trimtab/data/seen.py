"""What was seen before, told by hashes: memory for a few numbers a thing, whatever its text.

A hash has 64 bits. Among a million different things two share theirs once in some 37 million files.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from trimtab.data.files import Place
from trimtab.data.shapes import Record
from trimtab.types import Comparison, Grade


def record_hash(record: Record) -> int:
    """A hash that equal records share. Python's own is the same for -1 and -2, which differ in a score or margin."""
    match record:
        case Comparison(margin=number) | Grade(score=number):
            return hash((record, number == -1.0))
    return hash(record)


class Numbering:
    """Numbers 0, 1, 2, ... for different hashes, in order of first appearance: 15 to 21 bytes each.

    `_table[slot]` is the number plus one of the hash found at this slot or, where others came first, one further on; 0
    is free.
    """

    def __init__(self) -> None:
        self._hashes = array("q")
        self._table = array("I", bytes(4 * 8))

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, value: int) -> int | None:
        """The number of a hash, None for one that has none."""
        found = self._table[self._slot(value)]
        return found - 1 if found else None

    def number(self, value: int) -> int:
        """The number of a hash; the next one for a new hash."""
        slot = self._slot(value)
        if self._table[slot]:
            return self._table[slot] - 1
        self._hashes.append(value)
        self._table[slot] = len(self)
        if 3 * len(self) > 2 * len(self._table):
            self._grow()
        return len(self) - 1

    def add(self, value: int) -> bool:
        """Number a hash; whether it is a new one."""
        before = len(self)
        return self.number(value) == before

    def _slot(self, value: int) -> int:
        table, hashes, last = self._table, self._hashes, len(self._table) - 1
        slot = value & last
        while (found := table[slot]) and hashes[found - 1] != value:
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        size = 2 * len(self._table)
        self._table = array("I")  # so that both tables are never there at once
        self._table.frombytes(bytes(4 * size))
        for number, value in enumerate(self._hashes, start=1):
            self._table[self._slot(value)] = number


class FirstPlaces:
    """Where each of many things was first seen."""

    def __init__(self) -> None:
        self._numbers = Numbering()
        self._lines = array("I")  # of each thing, its place's number in the file
        self._files: list[tuple[int, str, str]] = []  # the first thing of each file, the file, the unit

    def first(self, value: int, place: Place) -> Place:
        """The place of the first thing with this hash, which is this one when there was none."""
        number = self._numbers.number(value)
        if number < len(self._lines):
            return self._place(number)
        self._lines.append(place.number)
        if not self._files or self._files[-1][1:] != (place.file, place.unit):
            self._files.append((number, place.file, place.unit))
        return place

    def find(self, value: int) -> Place | None:
        """The place of the first thing with this hash, None when there was none."""
        number = self._numbers.find(value)
        return None if number is None else self._place(number)

    def _place(self, number: int) -> Place:
        _, file, unit = self._files[bisect_right(self._files, number, key=lambda entry: entry[0]) - 1]
        return Place(file, self._lines[number], unit)
