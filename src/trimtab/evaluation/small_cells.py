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

    Values of fewer than five people (none at all is fewer) are merged. While their number says too much, the next
    smallest value joins them. A single cell is withheld: it would say what everybody is.
    """
    by_size = sorted(counts, key=lambda value: (-counts[value], value))
    merged = [value for value in by_size if counts[value] < FEWEST]
    alone = by_size[: len(by_size) - len(merged)]
    while merged and alone and _tells(sum(counts[value] for value in merged), len(merged), counts[alone[-1]]):
        merged.append(alone.pop())
    cells = [Cell((value,), counts[value]) for value in alone]
    if merged:
        cells.append(Cell(tuple(sorted(merged)), sum(counts[value] for value in merged)))
    return cells if len(cells) > 1 else []


def _tells(people: int, values: int, smallest: int) -> bool:
    """Whether the number of people who have one of so many merged values says too much.

    Fewer than five may not be shown, nor follow from the total. And of the most that these rules allow (four a value,
    or four and one value as large as the smallest that is shown) it is known how they are divided.
    """
    return people < FEWEST or people > max((FEWEST - 1) * values - 1, smallest + FEWEST - 3)
