"""Plain text as a stream, its two parts, its tokens and its passages."""

from __future__ import annotations

import gzip
import itertools
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from tests.data.tiny_tokenizers import tiny

from trimtab.data import text as module
from trimtab.data.files import data_files, read_rows
from trimtab.data.passages import LENGTH, OPENING, Passage, passages, spread
from trimtab.data.text import Piece, between, in_pieces, part, place_to_cut, read_text
from trimtab.data.text_tokens import TextTokens
from trimtab.errors import DataError

LINES = "".join(f"line {number} of a text that is made up\n" for number in range(5000))
DOCUMENTS = some.lists(some.text(alphabet="ab \n", min_size=1, max_size=40), min_size=1, max_size=6)


def joined(pieces: list[Piece]) -> list[str]:
    """The documents of a stream, whole."""
    found, waiting = [], ""
    for piece in pieces:
        waiting += piece.text
        if piece.ends:
            found.append(waiting)
            waiting = ""
    return [*found, waiting] if waiting else found


def cut(documents: list[str], size: int) -> list[Piece]:
    return [piece for one in documents for piece in in_pieces(one[at : at + size] for at in range(0, len(one), size))]


def test_a_file_is_a_document_in_pieces_that_begin_at_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("\ufeff" + LINES.replace("\n", "\r\n")).encode())
    pieces = list(read_text(tmp_path / "a.txt"))
    assert joined(pieces) == [LINES]
    assert len(pieces) > 2
    assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(piece.text.startswith("\n") for piece in pieces[1:])


def test_zipped_files_folders_and_rows_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"zipped\n"))
    (tmp_path / "a.txt").write_text("first\n")
    told: list[float] = []
    assert joined(list(read_text(tmp_path, watch=told.append))) == ["first\n", "zipped\n"]
    assert told == sorted(told)
    assert told[-1] == 1.0
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"content": one}) + "\n" for one in ("x\ny", "z")))
    assert joined(list(read_text(tmp_path / "rows.jsonl", columns={"text": "content"}))) == ["x\ny", "z"]


def test_a_text_file_beside_rows_is_a_note_on_them(tmp_path: Path) -> None:
    for name in ("LICENSE.txt", "rows.jsonl"):
        (tmp_path / name).write_text('{"text": "x"}\n')
    assert [file.name for file in data_files(tmp_path)] == ["rows.jsonl"]


def test_other_readers_see_a_text_file_as_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(LINES)
    (row,) = read_rows(tmp_path / "a.txt")
    assert row.value == {"text": LINES}
    assert row.length == len(LINES)


def test_rows_with_prompts_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "Coffee?", "completion": "Meals"}\n')
    with pytest.raises(DataError, match=r"prompt-completion rows \(demonstrations\), not plain text. That is a .txt"):
        list(read_text(tmp_path / "a.jsonl"))


def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    peaks = []
    for times in (2, 20):
        (tmp_path / "a.txt").write_text(LINES * times)
        tracemalloc.start()
        for _ in read_text(tmp_path / "a.txt"):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@given(DOCUMENTS, some.integers(1, 9))
def test_pieces_make_up_the_documents(documents: list[str], size: int) -> None:
    pieces = cut(documents, size)
    assert joined(pieces) == documents
    assert all(piece.text for piece in pieces)


@pytest.mark.parametrize(
    ("text", "most", "place"),
    [("one\ntwo three", 8, 3), ("one two", 5, 3), ("\nabc", 2, 2), ("abcdef", 4, 4), ("one\ntwo", 3, 3)],
)
def test_a_text_is_cut_before_a_line_end_else_a_space(text: str, most: int, place: int) -> None:
    assert place_to_cut(text, most) == place


@given(DOCUMENTS, some.integers(1, 9), some.floats(0.05, 0.9))
def test_the_two_parts_are_the_text_and_share_nothing(documents: list[str], size: int, share: float) -> None:
    whole = "".join(documents)
    try:
        parts = part(lambda: iter(cut(documents, size)), share)
    except DataError:
        assert len(whole) < 2 / share
        return
    learnt, held_out = list(parts.learnt()), list(parts.held_out())
    assert "".join(piece.text for piece in learnt) == whole[: parts.border]
    assert "".join(piece.text for piece in learnt + held_out) == whole
    assert sum(piece.ends for piece in learnt + held_out) == len(documents)
    assert len(whole) - parts.border >= round(len(whole) * share) // 2
    assert parts.border >= len(whole) - round(len(whole) * share) - 1


def test_the_border_is_where_a_document_a_paragraph_or_a_line_ends() -> None:
    """Half of 120 characters is 60; the place is looked for in the next 30."""
    filler = "x" * 64
    for head, border in (
        (f"{filler}\nab\n\ncd\nef", 64 + len("\nab\n\n")),
        (f"{filler}\nab", 64 + len("\n")),
        (filler, 60),
    ):
        text = head.ljust(120, "y")
        assert part(lambda text=text: iter(cut([text], 50)), 0.5).border == border
    two = [filler + "\n\nz", "y" * (120 - len(filler) - 3)]
    assert part(lambda: iter(cut(two, 50)), 0.5).border == len(two[0])


def test_all_may_be_learnt_from_and_too_little_cannot_be_parted() -> None:
    assert part(lambda: iter([Piece("abc", True)]), 0.0).border == 3
    with pytest.raises(DataError, match=r"the text has 3 characters, too few to hold out a share of 0.1"):
        part(lambda: iter([Piece("abc", True)]), 0.1)


def test_a_document_that_is_cut_does_not_end() -> None:
    pieces = [Piece("abc", True), Piece("def", True)]
    assert list(between(pieces, 1, 5)) == [Piece("bc", True), Piece("de", False)]
    assert list(between(pieces, 0, 3)) == [Piece("abc", True)]
    assert list(between(pieces, 3, 99)) == [Piece("def", True)]


@pytest.mark.parametrize("style", ["chatml", "llama3", "gemma", "plain"])
def test_text_is_tokens_without_a_template(style: str) -> None:
    """What looks like a control token is plain characters, and only documents end with one."""
    tokenizer = tiny(style)
    tokens = TextTokens(tokenizer)
    text = "  Coffee,\n\n31 EUR <|im_end|><eos></s>\n"
    ids = list(tokens.stream([Piece(text[:9], False), Piece(text[9:], True), Piece("the", True)]))
    assert ids.count(tokens.end_id) == 2
    assert ids[-1] == tokens.end_id == tokenizer.eos_token_id
    end = ids.index(tokens.end_id)
    assert tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False) == text
    assert not set(ids[:end]) & set(tokenizer.all_special_ids)
    assert tokens.start_id == (tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokens.end_id)


def test_a_continuation_keeps_its_leading_space() -> None:
    tokens = TextTokens(tiny("llama2", sentencepiece=True))
    context, more = [tokens.start_id, *tokens.encode("the")], tokens.encode(" the")
    assert tokens.decode_after(context, more) == tokens._decode([*context, *more])[len(tokens._decode(context)) :]
    plain = TextTokens(tiny("chatml"))
    assert plain.decode_after(plain.encode("the"), plain.encode(" the\n")) == " the\n"


@given(DOCUMENTS, some.integers(1, 9), some.integers(2, 12))
def test_every_character_is_in_one_passage(documents: list[str], size: int, length: int) -> None:
    found = list(passages(cut(documents, size), length=length, before=5))
    kept = [one for one in documents if one.strip()]
    assert "".join("".join(one.text for one in found).split()) == "".join("".join(kept).split())
    assert all(0 < len(one.text) <= length and len(one.before) <= 5 for one in found)
    assert all(one.before + one.text in "".join(documents) for one in found)


def test_passages_know_what_comes_before_them_in_their_document() -> None:
    found = list(passages([Piece("one two\nthree four\nfive", True), Piece("six", True)], length=10, before=12))
    assert found == [
        Passage("", "one two"),
        Passage("one two", "\nthree"),  # 10 characters reach into "four"
        Passage("three", " four\nfive"),  # of "one two\nthree", 13 characters, the first line is cut
        Passage("", "six"),
    ]


def test_an_opening_is_the_last_line() -> None:
    long = "a line that is quite a bit longer than what may be known of it, and then some\n"
    assert Passage(long * 3 + "KING:", "").opening == "KING:"
    assert Passage("x" * 30 + " " + "word " * 40, "").opening == "word " * (OPENING // 5 - 1)
    assert Passage("KING:", "").opening == "KING:"


def test_passages_are_spread_over_the_whole_text() -> None:
    """60,000 characters are some 60 passages; of each ten the first is taken."""
    text = "".join(f"{number:05}----\n" for number in range(6000))
    found = spread(cut([text], module._PIECE), 6, len(text))
    starts = [int(one.text.strip()[:5]) for one in found]
    assert len(found) == 6
    assert starts[0] == 0
    assert 4500 < starts[-1] < 5500
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert max(gaps) - min(gaps) <= 10
    assert len(spread(cut([text], module._PIECE), 1000, len(text))) == pytest.approx(len(text) / LENGTH, rel=0.02)
