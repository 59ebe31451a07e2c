"""Data go through in a few dozen bytes a row: a file may be larger than memory."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from trimtab.data.check import check
from trimtab.data.files import read_rows
from trimtab.data.formats import read, read_comparisons, read_demonstrations, read_prompts
from trimtab.data.on_disk import Spool
from trimtab.data.splits import assert_disjoint
from trimtab.types import Message, Prompt

ROWS = {"demonstrations": 20_000, "comparisons": 10_000, "grades": 4_000, "bad": 10_000}
WORDS = "word " * 60  # 300 characters a text


def peak(work: Callable[[], object]) -> int:
    """The most memory that some work needs at a time, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Rows of 600 characters and more, all different."""
    folder = tmp_path_factory.mktemp("large")
    rows = {
        "demonstrations": lambda n: {"prompt": f"{n} {WORDS}", "completion": f"{WORDS} {n}"},
        "comparisons": lambda n: {"prompt": f"{n // 2} {WORDS}", "chosen": f"{WORDS} {n}", "rejected": f"{n}"},
        "grades": lambda n: {"prompt": f"{n} {WORDS}", "responses": [f"{WORDS} {n}", "b"], "scores": [n, 0.5]},
        "bad": lambda n: {"prompt": f"{n} {WORDS}", "completion": "" if n else f"{WORDS}"},
    }
    for name, row in rows.items():
        with (folder / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row(n)) + "\n" for n in range(ROWS[name]))
    return {name: folder / f"{name}.jsonl" for name in rows}


def drain(records) -> None:
    deque(records, maxlen=0)


def test_the_ruler_measures():
    assert peak(lambda: [f"{n} {WORDS}" for n in range(1000)]) > 300_000


@pytest.mark.parametrize(
    ("name", "reader", "bytes_a_row"),
    [
        ("demonstrations", read_demonstrations, 0),
        ("comparisons", read_comparisons, 0),
        ("demonstrations", read_prompts, 40),
        ("grades", read_comparisons, 150),
    ],
)
def test_reading(files, name, reader, bytes_a_row):
    assert peak(lambda: drain(reader(files[name]))) < 1_000_000 + bytes_a_row * ROWS[name]


@pytest.mark.parametrize(("name", "bytes_a_row"), [("demonstrations", 60), ("comparisons", 90), ("grades", 120)])
def test_check(files, name, bytes_a_row):
    drain(islice(check(read(files[name])).examples, 1))  # what is imported on the way is none of it
    assert peak(lambda: check(read(files[name]))) < 1_500_000 + bytes_a_row * ROWS[name]


def test_bad_rows_are_counted_and_not_kept(files):
    def read_all() -> None:
        with pytest.raises(Exception, match="9999 of 10000 rows"):
            drain(read_demonstrations(files["bad"]))

    assert peak(read_all) < 1_000_000


def test_prompts_on_the_disk(files, tmp_path):
    assert peak(lambda: Spool(read_prompts(files["demonstrations"]), tmp_path)) < 1_000_000 + 60 * 20_000


def test_overlap(files):
    held_out = [Prompt((Message("user", "Taxi?"),))]
    assert peak(lambda: assert_disjoint(read(files["demonstrations"]), held_out)) < 1_000_000


def test_the_first_row_comes_before_the_last_is_read(files):
    shares: list[float] = []
    assert len(list(islice(read_demonstrations(files["demonstrations"], watch=shares.append), 1500))) == 1500
    assert len(shares) == 1
    assert shares[0] == pytest.approx(1000 / 20_000, rel=0.05)


def test_a_watch_hears_how_much_was_read(files, tmp_path):
    shares: list[float] = []
    drain(read_rows(files["demonstrations"], shares.append))
    assert len(shares) == 20
    assert shares == sorted(shares)
    assert shares[9] == pytest.approx(0.5, rel=0.05)
    assert shares[-1] == 1.0
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"prompt": "x"}\n' * 1000)
    shares = []
    drain(read_rows(tmp_path, shares.append))
    assert shares == [0.5, 1.0]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv", "a.json", "a.parquet"])
def test_every_container_says_how_much_was_read(tmp_path, name):
    rows = [{"prompt": f"{random.Random(n).getrandbits(800)}", "completion": "x"} for n in range(4000)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if name == "a.parquet":
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / name)
    elif name == "a.csv":
        (tmp_path / name).write_text("prompt,completion\n" + "".join(f"{row['prompt']},x\n" for row in rows))
    elif name == "a.json":
        (tmp_path / name).write_text(json.dumps(rows))
    else:
        (tmp_path / name).write_bytes(gzip.compress(lines.encode()))
    shares: list[float] = []
    drain(read_rows(tmp_path / name, shares.append))
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.1)


def test_what_a_watch_raises_ends_the_reading(files):
    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain(read_rows(files["demonstrations"], stop))
