"""Text in pieces, broken between words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from trimtab.cli.wrap import WordWrap, printable


def wrapped(pieces: list[str], width: int, column: int = 0) -> str:
    written: list[str] = []
    wrap = WordWrap(written.append, width, column)
    for piece in pieces:
        wrap.add(piece)
    wrap.flush()
    return "".join(written)


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("one two three", 0, "one two\nthree"),
        ("one two", 5, "one\ntwo"),
        ("one two", 8, "\none two"),
        ("a\n\n  b", 0, "a\n\n  b"),
        ("abcdefghijklmnop", 0, "abcdefghij\nklmnop"),
        ("漢字漢字漢字", 0, "漢字漢字漢\n字"),
        ("a\tb", 0, "a   b"),
    ],
)
def test_lines_end_between_words(text: str, column: int, expected: str) -> None:
    assert wrapped([text], 10, column) == expected


@given(st.text(alphabet="ab漢é", max_size=40).map(list), st.integers(2, 12))
def test_no_line_is_wider_than_the_terminal(letters: list[str], width: int) -> None:
    assert all(cell_len(line) <= width for line in wrapped(letters, width).split("\n"))


@given(st.lists(st.text(alphabet="ab 漢\n", max_size=6), max_size=12), st.integers(2, 12))
def test_where_pieces_end_does_not_matter(pieces: list[str], width: int) -> None:
    assert wrapped(pieces, width) == wrapped(["".join(pieces)], width)


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=5), min_size=1))
def test_no_word_is_lost(words: list[str]) -> None:
    assert wrapped([" ".join(words)], 8).split() == words


def test_a_word_waits_for_its_end() -> None:
    written: list[str] = []
    wrap = WordWrap(written.append, 10)
    wrap.add("one tw")
    assert "".join(written) == "one"
    wrap.add("o ")
    assert "".join(written) == "one two"


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\x07\x9b\ud800\n\tc") == "a�[31mb����\n\tc"
