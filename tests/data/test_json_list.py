"""A list read item by item is the list that is read whole, and its errors are told at the same place."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data import json_list
from trimtab.data.json_list import JsonList
from trimtab.errors import DataError

from .test_files import JSON

PATH = Path("a.json")


def items(raw: bytes, at_once: int) -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_list, "_BYTES_AT_ONCE", at_once)
        return list(JsonList(PATH, io.BytesIO(raw)))


@given(st.lists(JSON, max_size=6), st.integers(1, 9), st.booleans(), st.sampled_from([None, 1]))
def test_items_are_those_of_the_whole(values: list, at_once: int, ascii_only: bool, indent: int | None) -> None:
    """However small the pieces: they cut numbers, words, strings, escapes and characters in two."""
    text = json.dumps(values, ensure_ascii=ascii_only, indent=indent)
    assert items(text.encode(), at_once) == values
    assert items(b"\xef\xbb\xbf \n" + text.encode() + b"\n ", at_once) == values


@pytest.mark.parametrize("at_once", [1, 7, 100, 10_000])
@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'[{"a": 1},\n {"a" 2}]', "line 2: not valid JSON: Expecting ':' delimiter at column 7"),
        (b'[{"a": 1},\n\n 1 2]', "line 3: not valid JSON: Expecting ',' delimiter at column 4"),
        (b'[{"a": 1}, {"b": 2', "line 1: not valid JSON: Expecting ',' delimiter at column 19"),
        (b'[{"a": 1}', "line 1: not valid JSON: Expecting ',' delimiter at column 10"),
        (b'[1,\n"abc', "line 2: not valid JSON: Unterminated string starting at at column 1"),
        (b"[1]\n  x", "line 2: not valid JSON: Extra data at column 3"),
        (b'["' + b"a" * 500 + b'", "b", "\n"]', "line 1: not valid JSON: Invalid control character at at column 512"),
        (b'[1,\n\n "\xff"]', "line 3: not valid UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_errors_are_told_where_they_are(raw: bytes, message: str, at_once: int) -> None:
    with pytest.raises(DataError) as error:
        items(raw, at_once)
    assert message in str(error.value)


def test_what_is_wrong_early_is_told_before_the_rest_is_read() -> None:
    stream = io.BytesIO(b'[{"a" 1}, ' + b'"x", ' * 10**6 + b"1]")
    with pytest.raises(DataError, match="delimiter at column 7"):
        list(JsonList(PATH, stream))
    assert stream.tell() == json_list._BYTES_AT_ONCE


def test_memory_holds_what_is_read_ahead() -> None:
    stream = io.BytesIO(json.dumps([{"text": "word " * 200}] * 20_000).encode())  # 20 MB
    tracemalloc.start()
    deque(JsonList(PATH, stream), maxlen=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
