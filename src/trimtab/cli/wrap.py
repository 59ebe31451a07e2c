"""Text that arrives in pieces, broken into lines between words."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from rich.cells import cell_len


def printable(text: str) -> str:
    """Text for a terminal: control characters other than the line's end, and what is no character, become a mark."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_unfit(character) else character for character in text)


def _is_unfit(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t"


class WordWrap:
    """Writes words as they become whole. `column` is where the first line begins."""

    def __init__(self, write: Callable[[str], object], width: int, column: int = 0) -> None:
        self._write, self._width, self._column = write, width, column
        self._space = self._word = ""

    def add(self, piece: str) -> None:
        """Take a piece of text. Its last word waits for what comes after it."""
        for character in piece.expandtabs(4):
            if character == "\n":
                self.flush()
                self._write("\n")
                self._space, self._column = "", 0
            elif character == " ":
                self.flush()
                self._space += " "
            elif cell_len(character) == 2:  # of a script that is written without spaces
                self.flush()
                self._word = character
                self.flush()
            else:
                self._word += character
                if len(self._word) >= self._width:
                    self.flush()

    def flush(self) -> None:
        """Write the word that waits, on a new line if this one has no room for it."""
        if not self._word:
            return
        if self._column and self._column + len(self._space) + cell_len(self._word) > self._width:
            self._space, self._column = "", 0
            self._write("\n")
        self._write(self._space + self._word)
        self._column += len(self._space) + cell_len(self._word)
        self._space = self._word = ""
