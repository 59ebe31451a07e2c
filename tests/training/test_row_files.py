"""Token rows on the disk: what is written comes back, and what is not whole is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.rows import TokenRow
from trimtab.training.row_files import (
    Graded,
    GradedRow,
    GradedRowFile,
    Pair,
    Placed,
    PreferenceRow,
    PreferenceRowFile,
    RankedRow,
    RankedRowFile,
    TokenRowFile,
    write_graded_rows,
    write_preference_rows,
    write_ranked_rows,
    write_token_rows,
)

IDS = st.lists(st.integers(0, 2**32 - 1), max_size=4).map(tuple)
ROWS = st.builds(TokenRow, IDS.filter(bool), st.lists(IDS, max_size=3).map(tuple))
NUMBERS = st.floats(allow_nan=False)
PLACES = st.integers(0, 2**31)
PLACED = st.lists(st.builds(Placed, PLACES, PLACES, PLACES), max_size=3).map(tuple)
GRADED = st.lists(st.builds(Graded, PLACES, NUMBERS), max_size=3).map(tuple)
PAIRS = st.lists(st.builds(Pair, st.integers(0, 2**31), st.integers(0, 2**31), NUMBERS, NUMBERS), max_size=3).map(tuple)


@settings(deadline=None, max_examples=30)
@given(st.lists(ROWS, max_size=6))
def test_token_rows_come_back(tmp_path_factory, rows: list[TokenRow]) -> None:
    folder = tmp_path_factory.mktemp("rows") / "state" / "rows"
    write_token_rows(folder, iter(rows))
    found = TokenRowFile(folder)
    assert len(found) == len(rows)
    assert list(found) == rows
    assert [found[n] for n in range(-len(rows), len(rows))] == rows + rows
    assert found[1:3] == rows[1:3]
    with pytest.raises(IndexError):
        found[len(rows)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.builds(PreferenceRow, ROWS, PAIRS), max_size=6))
def test_preference_rows_come_back(tmp_path_factory, rows: list[PreferenceRow]) -> None:
    folder = tmp_path_factory.mktemp("rows") / "rows"
    write_preference_rows(folder, iter(rows))
    found = PreferenceRowFile(folder)
    assert list(found) == rows
    assert found.num_pairs == sum(len(row.pairs) for row in rows)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.builds(RankedRow, ROWS, PLACED), max_size=6))
def test_ranked_rows_come_back(tmp_path_factory, rows: list[RankedRow]) -> None:
    folder = tmp_path_factory.mktemp("rows") / "rows"
    write_ranked_rows(folder, iter(rows))
    found = RankedRowFile(folder)
    assert list(found) == rows
    assert found.num_labels == sum(len(row.places) for row in rows)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.builds(GradedRow, ROWS, GRADED), max_size=6))
def test_graded_rows_come_back(tmp_path_factory, rows: list[GradedRow]) -> None:
    folder = tmp_path_factory.mktemp("rows") / "rows"
    write_graded_rows(folder, iter(rows))
    found = GradedRowFile(folder)
    assert list(found) == rows
    assert list(found.scores) == [grade.score for row in rows for grade in row.grades]
    assert found.num_labels == len(found.scores)


def test_rows_that_stop_halfway_leave_nothing(tmp_path: Path) -> None:
    def rows() -> Iterator[TokenRow]:
        yield TokenRow((1,), ((2,),))
        assert [path.name for path in tmp_path.iterdir()] == ["rows.partial"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_token_rows(tmp_path / "rows", rows())
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "rows.partial").mkdir()
    (tmp_path / "rows.partial" / "tokens").write_bytes(b"\1\0\0\0" * 100)
    rows = [TokenRow((1, 2), ((3,),))]
    write_token_rows(tmp_path / "rows", rows)
    assert list(TokenRowFile(tmp_path / "rows")) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
