"""Containers of rows: JSON lines, JSON, CSV, text (plain or gzipped), Parquet, folders, data sets of a hub.

`read_rows` yields one `Row` at a time with its place in the file. A row that cannot be read carries its reason and does
not stop the rows after it; a file that cannot be read at all raises `DataError`.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from trimtab.data.json_list import JsonList
from trimtab.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
TEXT_SUFFIXES = (".txt", ".txt.gz")
HUB_SPELLING = "hf:owner/name, hf:owner/name:split or hf:owner/name/config:split"
# CSV has text cells only: these columns hold JSON in a cell.
STRUCTURED_COLUMNS = frozenset({"messages", "conversations", "responses", "ranking", "scores", "votes", "truth"})

Watch = Callable[[float], None]
"""Is told every thousand rows how much of a source has been read, from 0 to 1. It may raise, which ends the reading."""
_ROWS_BETWEEN_TELLING = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: `line` of a text file, `item` of a JSON list, `row` of a table; counted from 1."""

    file: str
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row with its place and length in characters, or the reason why it could not be read."""

    place: Place
    value: Mapping[str, Any] = field(default_factory=dict)
    length: int = 0
    problem: str = ""


def unwatched(share: float) -> None:
    """A `Watch` that does nothing."""


def read_rows(source: str | Path, watch: Watch = unwatched) -> Iterator[Row]:
    """Rows of a file, a folder of files, or a Hugging Face data set (`hf:owner/name:split`), in order."""
    if str(source).startswith("hf:"):
        yield from _hub_rows(str(source), watch)
        return
    for file, watch_file in watched_files(data_files(Path(source)), watch):
        yield from _file_rows(file, watch_file)


def watched_files(files: Sequence[Path], watch: Watch) -> Iterator[tuple[Path, Watch]]:
    """Each file with a watch of its own, which tells how much of all of them has been read."""
    sizes = [file.stat().st_size for file in files]
    for number, file in enumerate(files):

        def watch_file(share: float, before: int = sum(sizes[:number]), size: int = sizes[number]) -> None:
            watch((before + share * size) / sum(sizes))

        yield file, watch_file


def data_files(path: Path) -> list[Path]:
    """The files that are read of a path: itself, or those of a folder, in order. Raises `DataError` for none.

    Text files of a folder are read where it holds no others: beside rows, a `.txt` is a licence or a note on them.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.is_file())
        for suffixes in (SUFFIXES, TEXT_SUFFIXES):
            if found := [f for f in files if f.name.endswith(suffixes)]:
                return found
        raise DataError(f"The folder {path} holds no data file. Looked for {', '.join(SUFFIXES + TEXT_SUFFIXES)}.")
    if not path.exists():
        raise DataError(_not_found(path))
    if not path.name.endswith(SUFFIXES + TEXT_SUFFIXES):
        raise DataError(
            f"{path}: unknown kind of file. trimtab reads {', '.join(SUFFIXES + TEXT_SUFFIXES)}, folders of them, and "
            "hf: ids."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: there is not one row in it.")
    return [path]


def _not_found(path: Path) -> str:
    message = f"There is no file or folder {path}."
    names = [f.name for f in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"{message} Did you mean {path.parent / close[0]}?"
    return f"{message} A data set of the Hugging Face hub is written {HUB_SPELLING}."


def _file_rows(path: Path, watch: Watch) -> Iterator[Row]:
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        yield from _parquet_rows(path, watch)
        return
    with opened(path) as (stream, file):
        rows = {"csv": _csv_rows, "jsonl": _json_lines, "txt": _text_row}.get(kind, _json_rows)(path, stream)
        size = path.stat().st_size
        yield from _watched(rows, lambda number: file.tell() / size, watch)


def _watched(rows: Iterator[Row], share: Callable[[int], float], watch: Watch) -> Iterator[Row]:
    """The same rows. `share` says how much of the source was read when so many rows were."""
    for number, row in enumerate(rows, start=1):
        if number % _ROWS_BETWEEN_TELLING == 0:
            watch(share(number))
        yield row


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file's bytes, unzipped, after a look that it is text; and the file, which knows how far it was read."""
    try:
        with path.open("rb") as file, gzip.open(file) if path.name.endswith(".gz") else nullcontext(file) as opened:
            stream = cast("IO[bytes]", opened)
            head = stream.read(4096)
            if not head.strip():
                raise DataError(f"{path} is empty: there is not one row in it.")
            if b"\0" in head:
                raise DataError(
                    f"{path} is not text in UTF-8: it holds zero bytes, as binary files and UTF-16 text do. Save it as "
                    "UTF-8 text, or give it the ending of what it is (.parquet, .jsonl.gz)."
                )
            stream.seek(0)
            yield stream, file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged or cut short: {error}. Fetch or write it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def text_of_file(path: Path, stream: IO[bytes], piece: int) -> Iterator[str]:
    """Text in pieces of so many characters; line ends become `\\n`. Raises `DataError` for what is not UTF-8."""
    text, line = TextIOWrapper(stream, encoding="utf-8-sig"), 1
    try:
        while read := text.read(piece):
            yield read
            line += read.count("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, in line {line} or after it: not valid UTF-8. Save the file as UTF-8 text.") from error


def _text_row(path: Path, stream: IO[bytes]) -> Iterator[Row]:
    """A text file as one row. Fine-tuning on text reads it in pieces instead (`data/text.py`)."""
    text = "".join(text_of_file(path, stream, 2**20))
    yield Row(Place(str(path), 1), {"text": text}, len(text))


def _json_lines(path: Path, stream: IO[bytes]) -> Iterator[Row]:
    for number, raw in enumerate(stream, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if line.strip():
            yield _json_row(Place(str(path), number), line)


def _json_row(place: Place, raw: bytes) -> Row:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Row(place, problem=f"not valid UTF-8 (byte {error.start + 1} of the line is {raw[error.start]:#04x})")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return Row(place, length=len(text), problem=f"not valid JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return Row(place, length=len(text), problem="not usable JSON: nested too deeply")
    return _object_row(place, value, len(text.rstrip("\r\n")))


def _object_row(place: Place, value: Any, length: int) -> Row:
    if not isinstance(value, dict):
        return Row(place, length=length, problem=f"a row must be a JSON object, this is {_json_kind(value)}")
    return Row(place, value, length)


def _json_rows(path: Path, stream: IO[bytes]) -> Iterator[Row]:
    """A JSON list, an object around one list, or JSON lines under the name .json."""
    is_list = stream.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    stream.seek(0)
    if not is_list and _is_lines(stream):
        yield from _json_lines(path, stream)
        return
    number = 0
    for number, value in enumerate(JsonList(path, stream) if is_list else _wrapped(path, stream), start=1):
        yield _object_row(Place(str(path), number, "item"), value, len(json.dumps(value, ensure_ascii=False)))
    if not number:
        raise DataError(f"{path} is an empty list: there is not one row in it.")


def _is_lines(stream: IO[bytes]) -> bool:
    first = stream.readline().removeprefix(b"\xef\xbb\xbf").strip()
    second = stream.readline().strip()
    stream.seek(0)
    return first.startswith(b"{") and first.endswith(b"}") and second.startswith(b"{")


def _wrapped(path: Path, stream: IO[bytes]) -> list[Any]:
    """The list in an object, or an object that is a row; it is read whole."""
    raw = stream.read()
    try:
        value = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not valid UTF-8. Save the file as UTF-8 text.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not valid JSON: {error.msg} at column {error.colno}.") from error
    except RecursionError as error:
        raise DataError(f"{path}: not usable JSON: nested too deeply.") from error
    if isinstance(value, dict):
        lists = [v for v in value.values() if _is_list_of_rows(v)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise DataError(f"{path} holds {_json_kind(value)}, not a list of objects.")
    return value


def _is_list_of_rows(value: Any) -> bool:
    """Whether a value is rows rather than the messages of one row."""
    return (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict) and not {"role", "from"} & set(value[0])
    )


def _json_kind(value: Any) -> str:
    kinds = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false"}
    return kinds.get(type(value), "null" if value is None else "an object")


def _csv_rows(path: Path, stream: IO[bytes]) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    lines = (raw.decode("utf-8", errors="surrogateescape") for raw in stream)
    first = next(lines).removeprefix("\ufeff")
    reader = csv.reader(chain([first], lines), strict=True)
    header: list[str] | None = None
    while True:
        place = Place(str(path), reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(place, problem=f"not valid CSV: {error}")
            continue
        if header is None:
            header = cells
        elif cells:
            yield _csv_row(place, header, cells)


def _csv_row(place: Place, header: list[str], cells: list[str]) -> Row:
    length = sum(map(len, cells))
    if len(cells) != len(header):
        problem = f"{len(cells)} cells under a header of {len(header)} columns (a quote or comma too few or too many?)"
        return Row(place, length=length, problem=problem)
    value: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if any("\udc80" <= character <= "\udcff" for character in cell):
            return Row(place, length=length, problem=f"not valid UTF-8 in the column {name!r}")
        if name in STRUCTURED_COLUMNS:
            try:
                value[name] = json.loads(cell)
            except json.JSONDecodeError as error:
                return Row(place, length=length, problem=f"the cell {name!r} is not valid JSON: {error.msg}")
        else:
            value[name] = cell
    return Row(place, value, length)


def _parquet_rows(path: Path, watch: Watch) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install 'trimtab[parquet]'.") from error
    try:
        table = parquet.ParquetFile(path)
        total = table.metadata.num_rows
        if not total:
            raise DataError(f"{path} is empty: there is not one row in it.")
        values = (value for batch in table.iter_batches(batch_size=256) for value in batch.to_pylist())
        yield from _watched(_table_rows(str(path), values), lambda number: number / total, watch)
    except (arrow.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}.") from error


def _table_rows(source: str, values: Iterable[Any]) -> Iterator[Row]:
    for number, value in enumerate(values, start=1):
        yield Row(Place(source, number, "row"), value, _text_length(value))


def _hub_rows(source: str, watch: Watch) -> Iterator[Row]:
    name, config, split = _hub_parts(source)
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(f"{source}: reading from the hub needs datasets: pip install 'trimtab[datasets]'.") from error
    try:
        rows = load_dataset(name, config, split=split)
    except (OSError, ValueError, RuntimeError) as error:  # not reachable, not found, no such split, code of its own
        raise DataError(
            f"{source} could not be loaded: {error}. Without a network, fetch it on another machine, write it with "
            "dataset.to_json('data.jsonl') and give that file here. With one, check the name, the split and the config."
        ) from error
    yield from _watched(_table_rows(source, rows), lambda number: number / len(rows), watch)


def _hub_parts(source: str) -> tuple[str, str | None, str]:
    name, _, split = source.removeprefix("hf:").partition(":")
    parts = name.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise DataError(
            f"{source!r} is not the name of a data set. Write {HUB_SPELLING}; the split is train if not named."
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split or "train"


def _text_length(value: Any) -> int:
    """Characters of text in a row that did not come as text."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_text_length, value.values()))
    return sum(map(_text_length, value)) if isinstance(value, list | tuple) else 0
