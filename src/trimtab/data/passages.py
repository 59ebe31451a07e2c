"""Passages of a text, each with what comes before it: the same ones whatever tokenizer reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from trimtab.data.text import Piece, place_to_cut

LENGTH = 1000
"""Characters of a passage, about."""
BEFORE = 500
"""Characters before it that are known, at most."""
OPENING = 80
"""Characters before it that a sample is written after, at most: enough for a line, too few to show the style."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document and what comes before it there, from the beginning of a line."""

    before: str
    text: str

    @property
    def opening(self) -> str:
        """The last line before it, or the last few of short ones."""
        return _from_a_line(self.before, OPENING)


def passages(pieces: Iterable[Piece], *, length: int = LENGTH, before: int = BEFORE) -> Iterator[Passage]:
    """All of a text in passages of at most `length` characters, cut between lines, so each character is in one."""
    behind = ahead = ""
    for piece in pieces:
        ahead += piece.text
        while len(ahead) > length:
            cut = place_to_cut(ahead, length)
            yield Passage(_from_a_line(behind, before), ahead[:cut])
            behind, ahead = (behind + ahead[:cut])[-before - 1 :], ahead[cut:]
        if piece.ends:
            if ahead.strip():
                yield Passage(_from_a_line(behind, before), ahead)
            behind = ahead = ""
    if ahead.strip():
        yield Passage(_from_a_line(behind, before), ahead)


def spread(pieces: Iterable[Piece], count: int, characters: int) -> list[Passage]:
    """`count` passages, evenly spread over a text of so many characters, or all of a shorter one."""
    stride = max(characters // (LENGTH * count), 1)
    return list(islice(passages(pieces), 0, stride * count, stride))


def _from_a_line(behind: str, most: int) -> str:
    """The last characters of what comes before, without the first line, else word, where that is cut."""
    if len(behind) <= most:
        return behind
    whole = (behind[-most:].partition(mark)[2] for mark in "\n ")
    return next((rest for rest in whole if rest.strip()), behind[-most:])
