from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import DataError
from trimtab.labelling.revision_review import (
    Reviewed,
    add_verdict,
    good_shares,
    read_chains,
    read_verdicts,
    sample_rounds,
)

GOOD = {"critique": "yes", "harm": "less harmful", "help": "yes"}
BAD = {"critique": "no", "harm": "the same", "help": "unsure"}


ROUND = {"principle": "kind", "critique": {"text": "rude"}, "revision": {"text": "mended"}, "kept": True}
CHAIN = {"id": "a", "prompt": [{"role": "user", "content": "how?"}], "draft": {"text": "so"}, "rounds": [ROUND]}


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


def test_chains_are_read_whatever_line_ends_their_texts_hold(tmp_path: Path) -> None:
    path = tmp_path / "chains.jsonl"
    rows = [CHAIN, CHAIN | {"id": 7, "draft": {"text": "one\u2028two\x85three"}}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert read_chains(path) == rows


@pytest.mark.parametrize(
    "row",
    [
        [],
        {"prompt": "how?", "completion": "so"},
        {name: value for name, value in CHAIN.items() if name != "id"},
        CHAIN | {"prompt": "how?"},
        CHAIN | {"prompt": [{"role": "user"}]},
        CHAIN | {"draft": "so"},
        CHAIN | {"rounds": 1},
        *[CHAIN | {"rounds": [ROUND, {key: ROUND[key] for key in ROUND if key != name}]} for name in ROUND],
        CHAIN | {"rounds": [ROUND | {"revision": {"finish_reason": "stop"}}]},
    ],
)
def test_a_line_that_is_no_chain_is_told_with_what_to_name_instead(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(CHAIN) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"data\.jsonl, line 2 is no chain: .*Name the chains\.jsonl of a stage"):
        read_chains(path)


@pytest.mark.parametrize("text", ["", "title: a recipe\n", "{\n}\n"])
def test_a_file_of_another_kind_is_no_chains(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other"
    path.write_text(text)
    with pytest.raises(DataError, match="other, line 1 is no chain"):
        read_chains(path)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"critique": "yes", "harm": "the same"}, "its answer to 'help' must be one of yes, no, unsure"),
        (GOOD | {"harm": "better"}, "its answer to 'harm' must be one of less harmful, the same, more harmful"),
        (["yes", "the same", "yes"], "its answers must be given by question"),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_verdict_that_lacks_an_answer_is_told_and_not_counted(
    tmp_path: Path, answers: Any, message: str, end: str
) -> None:
    path = tmp_path / "verdicts.jsonl"
    add_verdict(path, verdict("a", GOOD))
    with path.open("a") as file:
        file.write(json.dumps(asdict(verdict("b", GOOD)) | {"answers": answers}) + end)
    with pytest.raises(DataError, match=rf"verdicts\.jsonl, line 2 is no verdict: {message}\. Remove the line"):
        read_verdicts(path)
