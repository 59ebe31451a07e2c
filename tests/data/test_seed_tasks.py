from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trimtab.data.seed_tasks import Instance, Task, read_seed_tasks
from trimtab.errors import DataError


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_instance_in_the_row_or_several_in_a_list(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"id": "a", "instruction": " Add. ", "input": "1, 2", "output": "3"},
        {"instruction": "Sing.", "output": "La", "is_classification": False},
        {
            "id": "c",
            "instruction": "Odd or even?",
            "is_classification": True,
            "instances": [{"input": "1", "output": "odd"}, {"input": "2", "output": "even"}],
        },
    )
    assert list(read_seed_tasks(path)) == [
        Task("a", "Add.", (Instance("1, 2", "3"),)),
        Task("seed-2", "Sing.", (Instance("", "La"),)),
        Task("c", "Odd or even?", (Instance("1", "odd"), Instance("2", "even")), True),
    ]


def test_other_names_of_columns(tmp_path: Path) -> None:
    path = write(tmp_path, {"task": "Add.", "given": "1, 2", "output": "3"})
    (found,) = read_seed_tasks(path, columns={"instruction": "task", "input": "given"})
    assert found == Task("seed-1", "Add.", (Instance("1, 2", "3"),))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input": "1, 2", "output": "3"}, "needs text as its instruction, not None"),
        ({"instruction": "Add.", "output": " "}, "needs text as its output, not ' '"),
        ({"instruction": "Add.", "input": 1, "output": "3"}, "needs text as its input, not 1"),
        ({"instruction": "Add.", "instances": []}, "instances must be a list of input and output"),
        ({"instruction": "Add.", "output": "3", "is_classification": "no"}, "must be true or false, not 'no'"),
    ],
)
def test_bad_rows(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    good = {"instruction": "Add.", "output": "3"}
    path = write(tmp_path, good, row)
    with pytest.raises(DataError, match=r"seeds\.jsonl, line 2: ") as error:
        list(read_seed_tasks(path))
    assert reason in str(error.value)
    assert len(list(read_seed_tasks(path, skip_bad=True))) == 1
    with pytest.raises(DataError, match="not one seed task"):
        list(read_seed_tasks(write(tmp_path, row), skip_bad=True))
