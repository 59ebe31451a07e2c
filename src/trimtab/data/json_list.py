"""A JSON list read item by item, of which memory holds one item and what is read ahead."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from trimtab.errors import DataError

_BYTES_AT_ONCE = 2**16
_SPACE = re.compile(r"[ \t\n\r]*")
# How far before the end of what was read an error may be that would be none if more were read: that of a literal or of
# an escape sequence which is cut in two. A string that is cut in two is told by its message.
_CUT_IN_TWO = 16


class JsonList:
    """The items of a list in a stream that begins with one. Raises `DataError` with the line of what is wrong."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream
        self._to_text = codecs.getincrementaldecoder("utf-8-sig")()
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._place = "", 0  # what is read ahead, and where in it the next thing begins
        self._lines, self._columns = 0, 0  # whole lines before the text, and characters of its first line before it

    def __iter__(self) -> Iterator[Any]:
        self._next_mark()
        self._place += 1  # the opening bracket
        if self._next_mark() != "]":
            yield self._value()
            while self._next_mark() == ",":
                self._place += 1
                yield self._value()
        if self._next_mark() != "]":
            raise self._invalid(json.JSONDecodeError("Expecting ',' delimiter", self._text, self._place))
        self._place += 1
        if self._next_mark():
            raise self._invalid(json.JSONDecodeError("Extra data", self._text, self._place))

    def _next_mark(self) -> str:
        """The next character that is no white space, an empty text at the end."""
        while True:
            match = _SPACE.match(self._text, self._place)
            self._place = match.end() if match else self._place
            if self._place < len(self._text) or not self._read_more():
                return self._text[self._place : self._place + 1]

    def _value(self) -> Any:
        while True:
            self._next_mark()
            try:
                value, end = self._parse(self._text, self._place)
            except json.JSONDecodeError as error:
                far = error.pos + _CUT_IN_TWO < len(self._text) and not error.msg.startswith("Unterminated string")
                if far or not self._read_more():
                    raise self._invalid(error) from error
            except RecursionError as error:
                raise DataError(f"{self._path}: not usable JSON: nested too deeply.") from error
            else:
                if end < len(self._text) or not self._read_more():  # a number may go on in what was not read
                    self._place = end
                    return value

    def _read_more(self) -> bool:
        """Read on, and forget what lies behind; False at the end. Long items are read in ever larger pieces."""
        raw = self._stream.read(max(_BYTES_AT_ONCE, len(self._text) - self._place))
        try:
            new = self._to_text.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            line = self._lines + self._text.count("\n") + error.object.count(b"\n", 0, error.start) + 1
            raise DataError(f"{self._path}, line {line}: not valid UTF-8. Save the file as UTF-8 text.") from error
        if raw:
            behind = self._text[: self._place]
            self._columns = len(behind) - behind.rfind("\n") - 1 + (0 if "\n" in behind else self._columns)
            self._lines += behind.count("\n")
            self._text, self._place = self._text[self._place :] + new, 0
        return bool(raw)

    def _invalid(self, error: json.JSONDecodeError) -> DataError:
        column = error.colno + (self._columns if error.lineno == 1 else 0)
        line = self._lines + error.lineno
        return DataError(f"{self._path}, line {line}: not valid JSON: {error.msg} at column {column}.")
