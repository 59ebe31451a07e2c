"""Plain text as a stream: documents a piece at a time, and the part of them that is held out.

A `.txt` file is a document, and so is a row with a column `text`. Nothing is kept, so text may be larger than memory.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.data.files import TEXT_SUFFIXES, Watch, data_files, opened, text_of_file, unwatched, watched_files
from trimtab.data.formats import read
from trimtab.errors import DataError

_PIECE = 2**16  # characters read at once
_LOOK = 4096  # characters in which a good place to part a text is looked for


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a document. `ends` where the document does."""

    text: str
    ends: bool


@dataclass(frozen=True, slots=True)
class Parts:
    """A text in two: what comes before the character `border` is learnt from, what comes after it is held out."""

    read: Callable[[], Iterator[Piece]]
    border: int
    length: int

    def learnt(self) -> Iterator[Piece]:
        """The first part. A document that the border cuts does not end in it."""
        return between(self.read(), 0, self.border)

    def held_out(self) -> Iterator[Piece]:
        """The second part."""
        return between(self.read(), self.border, sys.maxsize)


def read_text(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Piece]:
    """The documents of `.txt` files or of rows with a column `text`, in order.

    Line ends of any sort are read as `\\n`. Raises `DataError` for rows of another kind and text that is not UTF-8.
    """
    if not str(source).startswith("hf:") and data_files(Path(source))[0].name.endswith(TEXT_SUFFIXES):
        for file, watch_file in watched_files(data_files(Path(source)), watch):
            yield from in_pieces(_stretches(file, watch_file))
        return
    for text in read(source, skip_bad=skip_bad, columns=columns, watch=watch).texts():
        yield from in_pieces(text[start : start + _PIECE] for start in range(0, len(text), _PIECE))


def in_pieces(stretches: Iterable[str]) -> Iterator[Piece]:
    """One document, cut between lines where it can be: few tokens then depend on where it is cut."""
    waiting = ""
    for stretch in stretches:
        waiting += stretch
        if len(waiting) > 1:  # something waits always, as the last piece is the one that ends
            cut = place_to_cut(waiting, len(waiting) - 1)
            yield Piece(waiting[:cut], ends=False)
            waiting = waiting[cut:]
    yield Piece(waiting, ends=True)


def place_to_cut(text: str, most: int) -> int:
    """Where to cut so that at most `most` characters come before: at the last line end, else space, else there."""
    places = (text.rfind(mark, 1, most + 1) for mark in "\n ")
    return next((place for place in places if place > 0), most)


def part(read: Callable[[], Iterator[Piece]], held_out: float) -> Parts:
    """Hold out the last share of a text's characters. `read` begins anew each time it is called.

    The border is moved forward to the end of a document, paragraph or line, by half of the held-out part at most.
    Raises `DataError` when one of the parts is empty.
    """
    length = sum(len(piece.text) for piece in read())
    border = round(length * (1 - held_out))
    border += _good_place(between(read(), border, border + min(_LOOK, (length - border) // 2)))
    if not 0 < border < length and held_out:
        raise DataError(f"the text has {length} characters, too few to hold out a share of {held_out:g} of it")
    return Parts(read, border, length)


def between(pieces: Iterable[Piece], start: int, end: int) -> Iterator[Piece]:
    """The characters of a text from number `start` to `end`, which is left out."""
    at = 0
    for piece in pieces:
        text = piece.text[max(start - at, 0) : max(end - at, 0)]
        at += len(piece.text)
        if text:
            yield Piece(text, piece.ends and at <= end)
        if at >= end:
            return


def _stretches(file: Path, watch: Watch) -> Iterator[str]:
    size = file.stat().st_size
    with opened(file) as (stream, raw):
        for text in text_of_file(file, stream, _PIECE):
            yield text
            watch(raw.tell() / size)


def _good_place(window: Iterable[Piece]) -> int:
    """How far into a window a document ends, else a paragraph, else a line; 0 if none does."""
    text = ""
    for piece in window:
        text += piece.text
        if piece.ends:
            return len(text)
    found = re.search(r"\n[^\S\n]*\n\s*", text) or re.search(r"\n", text)
    return found.end() if found else 0
