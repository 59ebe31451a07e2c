"""What `trimtab annotators` prints of a file and of a project, and what it never prints."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import CommandLine

from trimtab.labelling.records import Compared, Item, Label, LabelledItem, Turn
from trimtab.labelling.settings import Settings
from trimtab.labelling.store import Store

NAMES = [f"person-{number}" for number in range(14)]
AGES = ["old"] * 6 + ["young"] * 6 + ["child"] * 2


def labelled(items: int = 6) -> list[LabelledItem]:
    """Everybody's vote on every item; the old prefer the first response of the first item."""
    rng = random.Random(1)
    found = []
    for number in range(items):
        of = Item(id=f"item-{number}", kind="compare", prompt=(Turn(role="user", content="q"),), responses=("a", "bb"))
        labels = []
        for name, age in zip(NAMES, AGES, strict=True):
            preference = (2 if age == "old" else -2) if number == 0 else rng.choice([-1, 0, 1])
            labels.append(Label(annotator=name, answer=Compared(preference=preference), order=(0, 1), seconds=30.0))
        found.append(LabelledItem(item=of, labels=tuple(labels)))
    return found


@pytest.fixture
def tables(tmp_path: Path, trimtab: CommandLine) -> Path:
    """A folder with labels, what people said of themselves, and a population; the command line works in it."""
    (tmp_path / "labels.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in labelled()))
    rows = [f"{name},{age}" for name, age in zip(NAMES, AGES, strict=True)]
    (tmp_path / "people.csv").write_text("\n".join(["annotator,age", *rows]))
    (tmp_path / "target.csv").write_text("attribute,value,share\nage,old,0.3\nage,young,0.5\nage,child,0.2\n")
    return tmp_path


def test_labels_of_a_file(tables: Path, trimtab: CommandLine) -> None:
    ended = trimtab("annotators", "labels.jsonl")
    assert ended.code == 0
    assert ended.out.startswith("84 labels of 6 items by 14 annotators\n")
    assert "comparisons: first, tie, second" in ended.out
    assert "72.6 ± 1.5 %" in ended.out
    assert "person-13" in ended.out
    assert "everyone" in ended.out
    assert "beside the target" not in ended.out


def test_the_pool_beside_a_target_and_groups(tables: Path, trimtab: CommandLine) -> None:
    ended = trimtab("annotators", "labels.jsonl", "--attributes", "people.csv", "--target", "target.csv")
    assert ended.code == 0
    assert re.search(r"child or young +│ +8 │ +57 % ", ended.out)
    assert re.search(r"item-0 +│ +1, 2 │", ended.out)
    # Two children: neither they nor the six young, who would tell their number, stand anywhere alone.
    assert not re.search(r"│ (child|young) +│", ended.out)


def test_json_tells_of_groups_but_of_no_person(tables: Path, trimtab: CommandLine) -> None:
    ended = trimtab("annotators", "labels.jsonl", "--attributes", "people.csv", "--target", "target.csv", "--json")
    found = json.loads(ended.out)
    assert [norm["agreement"] for norm in found["norms"]] == [0.726, 0.773, 0.63]
    assert len(found["annotators"]) == 14
    assert {row["value"]: row["people"] for row in found["representation"]["age"]["rows"]} == {
        "old": 6,
        "child or young": 8,
    }
    assert found["groups"]["age"]["divided"][0]["question"] == ["item-0", 0, 1]
    assert set(sizes(found["groups"]) + sizes(found["representation"])) <= {6, 8, 14}
    assert not {name for name in NAMES if name in json.dumps([found["groups"], found["representation"]])}


def sizes(value: Any) -> list[int]:
    """Every number of people in a piece of JSON: `n` and `people`."""
    if isinstance(value, dict):
        own = [size for name, size in value.items() if name in ("n", "people")]
        return own + [size for entry in value.values() for size in sizes(entry)]
    return [size for entry in value for size in sizes(entry)] if isinstance(value, list) else []


def test_a_project_counts_the_votes_it_asked_for_of_everyone(tmp_path: Path, trimtab: CommandLine) -> None:
    store = Store.create(tmp_path / "project", Settings(overlap=3))
    store.add_labels(labelled())
    found = json.loads(trimtab("annotators", "project", "--json").out)
    assert found["labels_counted"] == 3
    assert found["agreement"][1]["ratings"] == 18
    assert json.loads(trimtab("annotators", "project", "--json", "--first", "2").out)["labels_counted"] == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["absent.jsonl"], "error: There is no file or folder absent.jsonl. Did you mean labels.jsonl?"),
        (["."], "error: . is no labelling project"),
        (["people.csv"], "rows of people.csv cannot be read as labels.jsonl"),
        (["unlabelled.jsonl"], "error: there are no labels in unlabelled.jsonl yet. People give them on the pages of"),
        (["labels.jsonl", "--target", "target.csv"], "no annotator said anything of themselves. Ask them"),
        (["labels.jsonl", "--attributes", "target.csv"], "error: target.csv, line 2: needs a column annotator"),
        (["labels.jsonl", "--attributes", "people.csv", "--target", "people.csv"], "the columns must be attribute"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    tables: Path, trimtab: CommandLine, arguments: list[str], expected: str
) -> None:
    unlabelled = LabelledItem(item=labelled()[0].item)
    (tables / "unlabelled.jsonl").write_text(unlabelled.model_dump_json())
    ended = trimtab("annotators", *arguments)
    assert ended.code == 1
    assert expected in ended.err
