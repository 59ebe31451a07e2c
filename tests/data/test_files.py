from __future__ import annotations

import gzip
import json
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from trimtab.data.files import read_rows
from trimtab.errors import DataError

ROWS = [{"prompt": "Coffee\n12.50", "completion": "Meals"}, {"prompt": 'Taxi, "late"', "completion": "Travel é"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
CSV = 'prompt,completion\n"Coffee\n12.50",Meals\n"Taxi, ""late""",Travel é\n'.encode()


def values(path) -> list[dict]:
    rows = list(read_rows(path))
    assert not [row.problem for row in rows if row.problem]
    return [dict(row.value) for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES),
        ("blank.jsonl", b"\n" + LINES.replace(b"\n", b"\r\n\r\n")),
        ("a.jsonl.gz", gzip.compress(LINES)),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS, indent=1).encode())),
        ("wrapped.json", json.dumps({"version": 1, "data": ROWS}).encode()),
        ("lines.json", LINES),
        ("a.csv", CSV),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("a.csv.gz", gzip.compress(CSV)),
    ],
)
def test_every_container_gives_the_same_rows(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert values(path) == ROWS


def test_parquet(tmp_path):
    parquet.write_table(arrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert values(tmp_path / "a.parquet") == ROWS


def test_parquet_that_is_none(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR?")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(read_rows(tmp_path / "a.parquet"))


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'trimtab\[parquet\]'"):
        list(read_rows(tmp_path / "a.parquet"))


def test_a_folder_is_its_files_in_order(tmp_path):
    (tmp_path / "b.csv").write_bytes(CSV)
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "README.md").write_text("not data")
    assert values(tmp_path) == ROWS + ROWS
    assert [str(row.place) for row in read_rows(tmp_path)][2] == f"{tmp_path / 'b.csv'}, line 2"


def test_a_single_object_is_one_row(tmp_path):
    row = {"prompt": [{"role": "user", "content": "Coffee"}], "completion": "Meals"}
    (tmp_path / "a.json").write_text(json.dumps(row))
    assert values(tmp_path / "a.json") == [row]


def test_csv_cells_that_hold_json(tmp_path):
    (tmp_path / "a.csv").write_text('prompt,responses,scores\nhi,"[""a"", ""b""]","[1, 2]"\n')
    assert values(tmp_path / "a.csv") == [{"prompt": "hi", "responses": ["a", "b"], "scores": [1, 2]}]
    (tmp_path / "b.csv").write_text('prompt,truth\nhi,"{""length"": {""max_words"": 9}}"\n')
    assert values(tmp_path / "b.csv") == [{"prompt": "hi", "truth": {"length": {"max_words": 9}}}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.jsonl", b" \n\n", "a.jsonl is empty"),
        ("a.jsonl.gz", gzip.compress(b""), "is empty"),
        ("a.json", b"[]", "is an empty list"),
        ("a.jsonl", b"\x89PNG\r\n\x00\x00\x00", "not text in UTF-8: it holds zero bytes"),
        ("a.jsonl", '{"prompt": "x"}'.encode("utf-16"), "UTF-16"),
        ("a.jsonl.gz", LINES, "damaged or cut short"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-12], "damaged or cut short"),
        ("a.json", b'[{"prompt": "x"},\n {"prompt" "y"}]', "line 2: not valid JSON"),
        ("a.json", b'[{"prompt": "x"},\n {"prompt": "\xff"}]', "line 2: not valid UTF-8"),
        ("a.json", b'"text"', "holds a string, not a list"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.pdf", b"text", "unknown kind of file"),
        ("a.txt", b"one\ntwo \xff\n", "a.txt, in line 1 or after it: not valid UTF-8"),
        ("a.txt", b" \n", "a.txt is empty"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "content", "line", "problem"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \xff}\n{"a": 3}\n', 2, "not valid UTF-8 (byte 7 of the line is 0xff)"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n{"a": 3}\n', 2, "not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n[1]\n{"a": 3}\n', 2, "a row must be a JSON object, this is a list"),
        ("a.jsonl", b'{"a": 1}\n' + b"[" * 100_000 + b'\n{"a": 3}\n', 2, "nested too deeply"),
        ("a.csv", b'a,b\n"1\n1",2\n3\n4,5\n', 4, "1 cells under a header of 2 columns"),
        ("a.csv", b"a,b\n1,2\n\xff,3\n4,5\n", 3, "not valid UTF-8 in the column 'a'"),
        ("a.csv", b"prompt,scores\n1,[1]\n2,[\n3,[2]\n", 3, "the cell 'scores' is not valid JSON"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, name, content, line, problem):
    (tmp_path / name).write_bytes(content)
    rows = list(read_rows(tmp_path / name))
    assert [(row.place.number, problem in row.problem) for row in rows if row.problem] == [(line, True)]
    assert len(rows) == 3


def test_an_unclosed_quote_is_a_bad_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,2\n"3,4\n5,6\n')
    rows = list(read_rows(tmp_path / "a.csv"))
    assert [row.problem[:13] for row in rows] == ["", "not valid CSV"]
    assert rows[1].place.number == 3


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(LINES)
    with pytest.raises(DataError, match=r"Did you mean .*train\.jsonl\?"):
        list(read_rows(tmp_path / "trian.jsonl"))
    with pytest.raises(DataError, match="is written hf:owner/name"):
        list(read_rows("trl-lib/some-set"))


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="holds no data file"):
        list(read_rows(tmp_path))


def test_hub_names(monkeypatch):
    calls = []

    def load_dataset(name, config, split):
        calls.append((name, config, split))
        return iter(ROWS)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert values("hf:owner/name") == ROWS
    assert values("hf:owner/name/main:test[:5]") == ROWS
    assert calls == [("owner/name", None, "train"), ("owner/name", "main", "test[:5]")]
    with pytest.raises(DataError, match="is not the name of a data set"):
        list(read_rows("hf:name"))


@pytest.mark.parametrize("error", [ConnectionError("no luck"), ValueError("no luck"), RuntimeError("no luck")])
def test_hub_out_of_reach(monkeypatch, error):
    def load_dataset(name, config, split):
        raise error

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataError, match=r"could not be loaded: no luck\. Without a network.*to_json"):
        list(read_rows("hf:owner/name"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'trimtab\[datasets\]'"):
        list(read_rows("hf:owner/name"))


def test_no_version_of_datasets_that_runs_a_data_sets_own_code_is_asked_for():
    """4.0.0 is the first that runs none: https://github.com/huggingface/datasets/releases/tag/4.0.0."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = map(Requirement, project["optional-dependencies"]["datasets"])
    assert wanted.name == "datasets"
    assert "3.6.0" not in wanted.specifier
    assert "4.0.0" in wanted.specifier


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(rows=st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), min_size=1, max_size=6))
def test_json_lines_come_back_as_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8", newline="")
    assert values(path) == rows
