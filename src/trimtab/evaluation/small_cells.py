"""Counts of people that may be shown: no number is of fewer than five, nor follows from the others by subtraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FEWEST = 5


@dataclass(frozen=True, slots=True)
class Cell:
    """How many people have one of these values. Of several values, nothing is told of each."""

    values: tuple[str, ...]
    people: int

    @property
    def name(self) -> str:
        """The values as text."""
        return " or ".join(self.values)


def showable(counts: Mapping[str, int]) -> list[Cell]:
    """Cells of at least five people each, largest first, that hold all values; none if there cannot be two.

    Values of fewer than five people (none at all is fewer) are merged; while that makes fewer than five, the next
    smallest value joins them, so that the total minus what is shown tells nothing either. A single cell is withheld: it
    would say what everybody is.
    """
    by_size = sorted(counts, key=lambda value: (-counts[value], value))
    merged = [value for value in by_size if counts[value] < FEWEST]
    alone = by_size[: len(by_size) - len(merged)]
    while merged and alone and sum(counts[value] for value in merged) < FEWEST:
        merged.append(alone.pop())
    cells = [Cell((value,), counts[value]) for value in alone]
    if merged:
        cells.append(Cell(tuple(sorted(merged)), sum(counts[value] for value in merged)))
    return cells if len(cells) > 1 else []
