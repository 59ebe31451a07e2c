"""Calls that were paid for, one line of JSON each: what is in the log is read from it and never bought again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import DataError, UserError
from trimtab.files import sync
from trimtab.generation.chat_reply import Reply, Usage


@dataclass(frozen=True, slots=True)
class Call:
    """A call that brought an answer or was charged for. `reply` is None where it cannot be used; `fault` says why.

    `request` is all that went over the wire but the key; `cost` is in the currency of the prices; `at` is in UTC.
    """

    request: Mapping[str, Any]
    reply: Reply | None
    usage: Usage | None
    cost: float
    seconds: float
    at: str
    fault: str = ""


def request_key(request: Mapping[str, Any]) -> str:
    """SHA-256 of a request in a form that depends neither on the order of its fields nor on spaces."""
    canonical = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class CallLog:
    """An append-only file that any number of threads and processes may share; only its owner may read it.

    A line is on the disk when `add` returns. What a killed process left of a line is cut off. Replies stay in the file:
    memory holds their places.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = 0
        self.spent = 0.0
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._lines = 0
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.fchmod(self._file, 0o600)
        except OSError as error:
            raise UserError(f"{path} cannot be opened to keep calls in: {error.strerror}") from error
        sync(path.parent)
        self.catch_up()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def reply(self, key: str) -> Reply:
        """The reply to a request that is in the log."""
        begin, end = self._places[key]
        return Reply.from_record(json.loads(os.pread(self._file, end - begin, begin))["reply"])

    def catch_up(self) -> None:
        """Take in what others have written. `add` does so too."""
        with self._alone():
            pass

    def add(self, call: Call) -> None:
        """Keep a call. Raises `UserError` when the disk does not take it; the log is then as it was."""
        record = {"key": request_key(call.request), **asdict(call)}
        line = json.dumps(record, allow_nan=False).encode() + b"\n"  # ASCII, so a lone surrogate is no trouble
        with self._alone():
            try:
                _write(self._file, line, self._end)
                os.fsync(self._file)
            except OSError as error:
                os.ftruncate(self._file, self._end)
                raise UserError(f"{self.path} cannot be written: {error.strerror}. What it had is kept") from error
            self._note(line, self._end)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only writer, and know what others have written."""
        with self._guard:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._read_on()
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _read_on(self) -> None:
        size = os.fstat(self._file).st_size
        with open(os.dup(self._file), "rb") as file:
            file.seek(self._end)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._note(line, self._end)
        if size > self._end:  # a writer was killed within its line, and nobody else writes now
            os.ftruncate(self._file, self._end)

    def _note(self, line: bytes, begin: int) -> None:
        """Take in a whole line that begins at a byte of the file."""
        self._lines += 1
        try:
            record = json.loads(line)
            key, cost = record["key"], float(record["cost"])
            reply = None if record["reply"] is None else Reply.from_record(record["reply"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}:{self._lines}: this is no call. Remove the line, or name another log"
            ) from error
        if reply is not None:
            self._places.setdefault(key, (begin, begin + len(line)))
        self.spent += cost
        self.calls += 1
        self._end = begin + len(line)


def _write(file: int, data: bytes, place: int) -> None:
    while data:
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written
