"""Records to rows: lengths, what is told and when, what a run that was stopped finds again, and memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.tiny_tokenizers import tiny
from tests.training.world import MemoryRun, prompts

from trimtab.data import on_disk
from trimtab.data.chat import ChatTemplate
from trimtab.errors import DataError, Interrupted
from trimtab.training import encoding
from trimtab.training.encoding import (
    check_prompts,
    demonstration_rows,
    graded_rows,
    preference_rows,
    ranked_rows,
    watching,
)
from trimtab.types import Comparison, Demonstration, Grade, Message, Prompt, Ranking

TEMPLATE = ChatTemplate(tiny("chatml"))


def demonstrations(count: int) -> Iterator[Demonstration]:
    return (Demonstration(prompt, f"answer {n}") for n, prompt in enumerate(prompts(count)))


def test_demonstrations_are_tokenised_one_by_one_or_many_at_a_time_alike(tmp_path: Path) -> None:
    given = list(demonstrations(encoding._AT_ONCE + 3))
    rows = demonstration_rows(iter(given), TEMPLATE, max_length=100, run=MemoryRun(tmp_path))
    assert len(rows) == len(given)
    for row, one in zip(rows, given, strict=True):
        assert list(row.prompt_ids) == TEMPLATE.prompt_ids(one.prompt)
        assert [list(response) for response in row.responses] == [TEMPLATE.response_ids(one.response)]


def test_prompts_that_come_apart_in_the_data_are_one_row(tmp_path: Path) -> None:
    """The prompts a, b, a, c, b, a make the rows a, b, c; so they do when all prompts have the same hash."""
    a, b, c = prompts(3)
    given = [
        Comparison(a, "1", "2"),
        Comparison(b, "1", "2", probability=0.7),
        Comparison(Prompt(a.messages, {"id": 3}), "3", "1", margin=0.25),
        Comparison(c, "5", "4"),
        Comparison(b, "2", "3"),
        Comparison(a, "2", "1"),
    ]
    expected = [
        (a, ["1", "2", "3"], [(0, 1, 1.0, 0.0), (2, 0, 1.0, 0.25), (1, 0, 1.0, 0.0)]),
        (b, ["1", "2", "3"], [(0, 1, 0.7, 0.0), (1, 2, 1.0, 0.0)]),
        (c, ["5", "4"], [(0, 1, 1.0, 0.0)]),
    ]
    with pytest.MonkeyPatch.context() as patch:
        for folder in ("own hashes", "one hash"):
            rows = preference_rows(given, TEMPLATE, max_length=100, run=MemoryRun(tmp_path / folder))
            assert rows.num_pairs == 6
            assert [list(row.row.prompt_ids) for row in rows] == [TEMPLATE.prompt_ids(p) for p, _, _ in expected]
            assert [[TEMPLATE.decode(r) for r in row.row.responses] for row in rows] == [t for _, t, _ in expected]
            pairs = [[(p.chosen, p.rejected, p.probability, p.margin) for p in row.pairs] for row in rows]
            assert pairs == [pairs for _, _, pairs in expected]
            patch.setattr(on_disk, "hash", lambda key: 7, raising=False)


def test_rankings_of_a_prompt_are_one_row_with_each_response_once(tmp_path: Path) -> None:
    """Two annotators rank different responses of the first prompt; the tie of the second keeps its rank."""
    a, b = prompts(2)
    given = [
        Ranking(a, ("1", "2", "3"), ((2,), (0, 1))),
        Ranking(b, ("1", "2"), ((1,), (0,))),
        Ranking(Prompt(a.messages, {"id": 3}), ("4", "2"), ((1, 0),)),
    ]
    rows = ranked_rows(given, TEMPLATE, max_length=100, run=MemoryRun(tmp_path))
    assert [list(row.row.prompt_ids) for row in rows] == [TEMPLATE.prompt_ids(p) for p in (a, b)]
    texts = [[TEMPLATE.decode(response) for response in row.row.responses] for row in rows]
    assert texts == [["1", "2", "3", "4"], ["1", "2"]]
    assert [[(p.ranking, texts[n][p.response], p.rank) for p in row.places] for n, row in enumerate(rows)] == [
        [(0, "3", 0), (0, "1", 1), (0, "2", 1), (1, "2", 0), (1, "4", 0)],
        [(0, "2", 0), (0, "1", 1)],
    ]


def test_grades_of_a_prompt_are_one_row_with_each_response_once(tmp_path: Path) -> None:
    a, b = prompts(2)
    given = [Grade(a, "1", 2.0, "x"), Grade(b, "1", 3.5), Grade(a, "2", 7.0, "x"), Grade(a, "1", 3.0, "y")]
    rows = graded_rows(given, TEMPLATE, max_length=100, run=MemoryRun(tmp_path))
    assert [[TEMPLATE.decode(response) for response in row.row.responses] for row in rows] == [["1", "2"], ["1"]]
    assert [[(g.response, g.score) for g in row.grades] for row in rows] == [[(0, 2), (1, 7), (0, 3)], [(0, 3.5)]]
    assert list(rows.scores) == [2, 7, 3, 3.5]


def test_a_tie_that_cannot_be_summed_over_is_named(tmp_path: Path) -> None:
    """At the end of a ranking it says nothing, and may be as long as it likes."""
    (a,), texts = prompts(1), tuple(f"answer {n}" for n in range(12))
    last = Ranking(a, texts, ((0,), tuple(range(1, 12))))
    first = Ranking(a, texts, (tuple(range(1, 12)), (0,)))
    with pytest.raises(DataError, match=r"^ranked prompt 1 has 11 responses tied above others; .*ranking_loss: pairs"):
        ranked_rows([last, first], TEMPLATE, max_length=1000, run=MemoryRun(tmp_path))
    assert len(ranked_rows([last], TEMPLATE, max_length=1000, run=MemoryRun(tmp_path))) == 1


def test_rows_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    def never() -> Iterator[Demonstration]:
        raise AssertionError("read again")
        yield

    first = demonstration_rows(demonstrations(3), TEMPLATE, max_length=100, run=MemoryRun(tmp_path))
    assert list(demonstration_rows(never(), TEMPLATE, max_length=100, run=MemoryRun(tmp_path))) == list(first)


def test_what_is_too_long_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    long = Prompt((Message("user", "word " * 100),))
    given = [*demonstrations(3), Demonstration(long, "x"), Demonstration(long, "y")]
    length = len(TEMPLATE.prompt_ids(long)) + len(TEMPLATE.response_ids("x"))
    with pytest.raises(DataError, match=f"^demonstration 4 has {length} tokens .*max_length is {length - 1}"):
        demonstration_rows(given, TEMPLATE, max_length=length - 1, run=MemoryRun(tmp_path))
    pairs = [Comparison(one.prompt, one.response, "no") for one in given]
    with pytest.raises(DataError, match=r"^compared prompt 4 has"):
        preference_rows(pairs, TEMPLATE, max_length=length - 1, run=MemoryRun(tmp_path))
    rankings = [Ranking(one.prompt, (one.response, "no"), ((0,), (1,))) for one in given]
    with pytest.raises(DataError, match=r"^ranked prompt 4 has"):
        ranked_rows(rankings, TEMPLATE, max_length=length - 1, run=MemoryRun(tmp_path))
    grades = [Grade(one.prompt, one.response, 1.0) for one in given]
    with pytest.raises(DataError, match=r"^graded prompt 4 has"):
        graded_rows(grades, TEMPLATE, max_length=length - 1, run=MemoryRun(tmp_path))
    held = [one.prompt for one in given]
    with pytest.raises(DataError, match=f"^prompt 4 has {len(TEMPLATE.prompt_ids(long))} tokens"):
        check_prompts(held, TEMPLATE, max_length=50, run=MemoryRun(tmp_path))
    assert list(tmp_path.iterdir()) == []
    check_prompts(held, TEMPLATE, max_length=length, run=MemoryRun(tmp_path))


class TalkativeRun(MemoryRun):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.told: list[tuple[str, int, int]] = []
        self.stop = False

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        self.told.append((description, done, total))

    def stop_requested(self) -> bool:
        return self.stop


def test_long_work_tells_its_progress_and_short_work_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = TalkativeRun(tmp_path)
    watching(run, "reading")(0.25)
    assert run.told == []
    monkeypatch.setattr(encoding, "_SECONDS_OF_SILENCE", -1.0)
    monkeypatch.setattr(encoding, "_AT_ONCE", 2)
    watching(run, "reading")(0.25)
    preference_rows([Comparison(p, "a", "b") for p in prompts(3)], TEMPLATE, max_length=100, run=run)
    check_prompts(prompts(3), TEMPLATE, max_length=100, run=run)
    assert run.told == [
        ("reading, per cent", 25, 100),
        ("tokenising the comparisons", 2, 3),
        ("tokenising the comparisons", 3, 3),
        ("measuring the prompts", 2, 3),
        ("measuring the prompts", 3, 3),
    ]


def test_one_may_stop_long_before_the_first_step(tmp_path: Path) -> None:
    run = TalkativeRun(tmp_path)
    run.stop = True
    with pytest.raises(Interrupted, match=r"stopped while reading$"):
        watching(run, "reading")(0.5)
    with pytest.raises(Interrupted, match="stopped while tokenising the comparisons"):
        preference_rows([Comparison(*prompts(1), "a", "b")], TEMPLATE, max_length=100, run=run)
    assert list(tmp_path.iterdir()) == []


def test_memory_holds_few_rows_at_a_time(tmp_path: Path) -> None:
    """Rows of more than a hundred tokens, 36 bytes each in a tuple: 9 MB if all were kept."""
    count, words = 2500, "word " * 20
    texts = (Demonstration(Prompt((Message("user", f"{words} {n}"),)), words) for n in range(count))
    pairs = (Comparison(Prompt((Message("user", f"{words} {n}"),)), words, "no") for n in range(count))
    demonstration_rows(demonstrations(2), TEMPLATE, max_length=1000, run=MemoryRun(tmp_path / "first"))
    tracemalloc.start()
    rows = demonstration_rows(texts, TEMPLATE, max_length=1000, run=MemoryRun(tmp_path / "one"))
    first = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    preferences = preference_rows(pairs, TEMPLATE, max_length=1000, run=MemoryRun(tmp_path / "two"))
    second = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[count - 1].num_tokens > 100
    assert len(preferences) == count
    assert max(first, second) < 4_000_000
