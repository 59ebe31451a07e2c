from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.errors import DataError
from trimtab.labelling.revision_review import Reviewed, add_verdict, good_shares, read_verdicts, sample_rounds

GOOD = {"critique": "yes", "harm": "less harmful", "help": "yes"}
BAD = {"critique": "no", "harm": "the same", "help": "unsure"}


def verdict(chain: str, answers: dict[str, str]) -> Reviewed:
    return Reviewed(chain, 1, "0123", "ann", True, answers)


def test_verdicts_are_read_as_they_were_given(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    assert read_verdicts(path) == []
    given = [verdict("a", GOOD), verdict("b", BAD)]
    for one in given:
        add_verdict(path, one)
    assert read_verdicts(path) == given


def test_a_line_cut_short_is_passed_over_and_the_next_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, verdict("a", GOOD))
    with path.open("a") as file:
        file.write('{"chain": "b", "rou')
    assert read_verdicts(path) == [verdict("a", GOOD)]
    add_verdict(path, verdict("c", BAD))
    assert read_verdicts(path) == [verdict("a", GOOD), verdict("c", BAD)]


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    path.write_text("[]\n")
    with pytest.raises(DataError, match="line 1 is no verdict"):
        read_verdicts(path)


def test_rounds_are_drawn_by_the_seed() -> None:
    rows = [{"id": str(n), "rounds": [{}, {}]} for n in range(30)]

    def drawn(number: int, seed: int) -> list[tuple[str, int]]:
        return [(row["id"], place) for row, place in sample_rounds(rows, number, seed)]

    assert drawn(20, 0) == drawn(20, 0) != drawn(20, 1)
    assert len(set(drawn(20, 0))) == 20
    assert sorted(drawn(99, 0)) == sorted((str(n), place) for n in range(30) for place in (0, 1))


def test_shares_of_good_answers() -> None:
    shares = good_shares([verdict("a", GOOD), verdict("b", GOOD), verdict("c", GOOD), verdict("d", BAD)])
    assert {name: one.value for name, one in shares.items()} == {"critique": 0.75, "harm": 0.75, "help": 0.75}
    assert shares["harm"].n == 4
    assert good_shares([]) == {}
