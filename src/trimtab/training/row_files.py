"""Tokenised training rows on the disk, read one by one when a batch asks for them.

A folder holds columns, files of numbers of one type: `tokens`, the ids of all prompts and responses one after another;
`ends`, where each prompt and response ends among them; `rows`, where each row ends among those. What people said of the
responses adds `labels`, a few numbers each, and `label_ends`, where those of each row end. Pieces are read with plain
reads: what is read of a memory map counts as memory of the process, and an epoch reads everything.
"""

from __future__ import annotations

import os
import shutil
import weakref
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, TypeVar

from trimtab.data.on_disk import OnDemand
from trimtab.files import sync
from trimtab.models.rows import TokenRow

# Type codes of `array`: unsigned in 4 and 8 bytes, float in 8.
_ROW_COLUMNS = {"tokens": "I", "ends": "Q", "rows": "Q"}
_LABEL_COLUMNS = {"labels": "d", "label_ends": "Q"}

Row = TypeVar("Row")
Append = Callable[[str, Iterable[float]], None]
"""Puts numbers behind those of the column of this name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A comparison between two responses of one row, by their places in it."""

    chosen: int
    rejected: int
    probability: float
    margin: float


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A prompt, its distinct responses, and every comparison made between them.

    All comparisons of a prompt stay together: spread over batches they overfit in one pass (InstructGPT, section 3.5).
    """

    row: TokenRow
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """The rank that one ranking of a row's responses gives to one of them; a lower rank is better."""

    ranking: int
    response: int
    rank: int


@dataclass(frozen=True, slots=True)
class RankedRow:
    """A prompt, its distinct responses, and every ranking of them, as the places of the ranked responses."""

    row: TokenRow
    places: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Graded:
    """A score that one annotator gave to one response of a row."""

    response: int
    score: float


@dataclass(frozen=True, slots=True)
class GradedRow:
    """A prompt, its distinct responses, and every grade of them."""

    row: TokenRow
    grades: tuple[Graded, ...]


class TokenRowFile(OnDemand[TokenRow]):
    """The rows that `write_token_rows` wrote."""

    def __init__(self, folder: Path) -> None:
        self._tokens, self._ends, self._rows = (_Column(folder / name, kind) for name, kind in _ROW_COLUMNS.items())

    def __len__(self) -> int:
        return len(self._rows) - 1

    def _item(self, number: int) -> TokenRow:
        first, last = self._rows.read(number, number + 2)
        ends = self._ends.read(first, last + 1)
        tokens = tuple(self._tokens.read(ends[0], ends[-1]))
        prompt, *responses = (tokens[start - ends[0] : end - ends[0]] for start, end in pairwise(ends))
        return TokenRow(prompt, tuple(responses))


class _LabelledRowFile(OnDemand[Row]):
    """Rows with labels of `width` numbers each."""

    width: ClassVar[int]

    def __init__(self, folder: Path) -> None:
        self._rows = TokenRowFile(folder)
        self._labels, self._ends = (_Column(folder / name, kind) for name, kind in _LABEL_COLUMNS.items())

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def num_labels(self) -> int:
        """The labels of all rows."""
        return len(self._labels) // self.width

    def _item(self, number: int) -> Row:
        start, end = self._ends.read(number, number + 2)
        numbers = self._labels.read(self.width * start, self.width * end)
        labels = zip(*(numbers[place :: self.width] for place in range(self.width)), strict=True)
        return self._row(self._rows[number], labels)

    @abstractmethod
    def _row(self, row: TokenRow, labels: Iterable[tuple[float, ...]]) -> Row:
        """A row with its labels."""


class PreferenceRowFile(_LabelledRowFile[PreferenceRow]):
    """The rows that `write_preference_rows` wrote."""

    width = 4

    @property
    def num_pairs(self) -> int:
        """The comparisons of all rows."""
        return self.num_labels

    def _row(self, row: TokenRow, labels: Iterable[tuple[float, ...]]) -> PreferenceRow:
        return PreferenceRow(row, tuple(Pair(int(c), int(r), p, margin) for c, r, p, margin in labels))


class RankedRowFile(_LabelledRowFile[RankedRow]):
    """The rows that `write_ranked_rows` wrote."""

    width = 3

    def _row(self, row: TokenRow, labels: Iterable[tuple[float, ...]]) -> RankedRow:
        return RankedRow(row, tuple(Placed(*map(int, label)) for label in labels))


class GradedRowFile(_LabelledRowFile[GradedRow]):
    """The rows that `write_graded_rows` wrote."""

    width = 2

    @property
    def scores(self) -> Sequence[float]:
        """The scores that were given, in all rows."""
        return self._labels.read(0, len(self._labels))[1 :: self.width]

    def _row(self, row: TokenRow, labels: Iterable[tuple[float, ...]]) -> GradedRow:
        return GradedRow(row, tuple(Graded(int(response), score) for response, score in labels))


def write_token_rows(folder: Path, rows: Iterable[TokenRow]) -> None:
    """Write rows as they come. The folder is there when all of them are written, and only then."""
    with _new_columns(folder, _ROW_COLUMNS) as append:
        writer = _RowWriter(append)
        for row in rows:
            writer.write(row)


def write_preference_rows(folder: Path, rows: Iterable[PreferenceRow]) -> None:
    """Write rows with their comparisons as they come, as `write_token_rows` does."""
    _write_labelled(folder, ((one.row, map(astuple, one.pairs)) for one in rows))


def write_ranked_rows(folder: Path, rows: Iterable[RankedRow]) -> None:
    """Write rows with their rankings as they come, as `write_token_rows` does."""
    _write_labelled(folder, ((one.row, map(astuple, one.places)) for one in rows))


def write_graded_rows(folder: Path, rows: Iterable[GradedRow]) -> None:
    """Write rows with their grades as they come, as `write_token_rows` does."""
    _write_labelled(folder, ((one.row, map(astuple, one.grades)) for one in rows))


def _write_labelled(folder: Path, rows: Iterable[tuple[TokenRow, Iterable[tuple[float, ...]]]]) -> None:
    with _new_columns(folder, _ROW_COLUMNS | _LABEL_COLUMNS) as append:
        writer, num_labels = _RowWriter(append), 0
        append("label_ends", [0])
        for row, labels in rows:
            writer.write(row)
            for label in labels:
                append("labels", label)
                num_labels += 1
            append("label_ends", [num_labels])


class _RowWriter:
    def __init__(self, append: Append) -> None:
        self._append = append
        self._num_tokens = self._num_pieces = 0
        append("ends", [0])
        append("rows", [0])

    def write(self, row: TokenRow) -> None:
        for piece in (row.prompt_ids, *row.responses):
            self._num_tokens += len(piece)
            self._append("tokens", piece)
            self._append("ends", [self._num_tokens])
        self._num_pieces += 1 + len(row.responses)
        self._append("rows", [self._num_pieces])


@contextmanager
def _new_columns(folder: Path, kinds: dict[str, str]) -> Iterator[Append]:
    """New columns, under another name until they are whole and on the disk."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)  # what a kill left is written over
    try:
        with ExitStack() as stack:
            files = {name: stack.enter_context((partial / name).open("wb")) for name in kinds}
            yield lambda name, numbers: array(kinds[name], numbers).tofile(files[name])
        for path in (*(partial / name for name in kinds), partial):
            sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)
    sync(folder.parent)


class _Column:
    """Numbers of one type in a file."""

    def __init__(self, path: Path, kind: str) -> None:
        self._kind, self._size = kind, array(kind).itemsize
        self._file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return os.fstat(self._file).st_size // self._size

    def read(self, start: int, end: int) -> array:
        numbers = array(self._kind)
        numbers.frombytes(os.pread(self._file, (end - start) * self._size, start * self._size))
        return numbers
