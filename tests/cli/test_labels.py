"""`trimtab labels import` and `export`: what they print, and what the files hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import CommandLine

from trimtab.data.formats import read_comparisons
from trimtab.labelling.labels_file import read_labels
from trimtab.labelling.records import Compared, Label, LabelledItem, TooHard
from trimtab.labelling.settings import Attribute, Settings
from trimtab.labelling.store import Store


@pytest.fixture
def store(trimtab: CommandLine, tmp_path: Path) -> Store:
    """A project `mine` with two comparisons, which ann, bo and cy have labelled."""
    attributes = (Attribute(name="age", choices=("young", "old")),)
    store = Store.create(tmp_path / "mine", Settings(attributes=attributes))
    write("data.jsonl", [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(2)])
    assert trimtab("labels", "import", "mine", "data.jsonl").code == 0
    first, second = store.labelled_items()
    answers = [Compared(preference=1), Compared(preference=0, both_bad=True), TooHard()]
    labels = tuple(Label(annotator=n, answer=a) for n, a in zip(("ann", "bo", "cy"), answers, strict=True))
    more = (Label(annotator="ann", answer=Compared(preference=-2)),)
    store.add_labels([LabelledItem(item=first.item, labels=labels), LabelledItem(item=second.item, labels=more)])
    return store


def write(name: str, rows: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_importing_says_what_came_in(trimtab: CommandLine, store: Store) -> None:
    write("more.jsonl", [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(1, 4)])
    ended = trimtab("labels", "import", "mine", "more.jsonl")
    assert ended.out.splitlines() == [
        "more.jsonl, read as comparisons: 2 new items, 0 new labels",
        "1 items were there before and stay as they are",
    ]
    ended = trimtab("labels", "import", "mine", "more.jsonl", "--json")
    assert json.loads(ended.out) == {
        "format": "comparisons",
        "items": 0,
        "known_items": 3,
        "labels": 0,
        "left_out": {},
    }


def test_gold_and_quiz(trimtab: CommandLine, store: Store) -> None:
    write("sure.jsonl", [{"question": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(10)])
    options = ("--gold", "20%", "--quiz", "3", "--columns", "prompt=question")
    assert trimtab("labels", "import", "mine", "sure.jsonl", *options).code == 0
    counts = store.counts()
    assert (counts["gold"], counts["quiz"]) == (2, 3)


def test_the_whole_project_goes_into_another(trimtab: CommandLine, store: Store, tmp_path: Path) -> None:
    ended = trimtab("labels", "export", "mine", "--out", "labels.jsonl")
    assert ended.out.splitlines() == [
        "labels.jsonl: 2 rows. Labels exported: 3 compare, 1 too_hard",
        "Of these, 1 say that both responses are bad",
    ]
    assert list(read_labels("labels.jsonl")) == list(store.labelled_items())
    other = Store.create(tmp_path / "other", Settings())
    ended = trimtab("labels", "import", "other", "labels.jsonl")
    assert ended.out.splitlines()[0] == "labels.jsonl, read as jsonl: 2 new items, 4 new labels"
    assert list(other.labelled_items()) == list(store.labelled_items())
    ended = trimtab("labels", "import", "other", "labels.jsonl")
    assert "left out, a second answer by the same annotator: 4" in ended.out
    ended = trimtab("labels", "import", "other", "labels.jsonl", "--json")
    assert json.loads(ended.out)["left_out"] == {"a second answer by the same annotator": 4}


def test_comparisons_for_training(trimtab: CommandLine, store: Store) -> None:
    ended = trimtab("labels", "export", "mine", "--out", "c.jsonl", "--format", "comparisons")
    assert ended.out.splitlines() == [
        "c.jsonl: 2 rows. Labels exported: 3 compare",
        "Of these, 1 say that both responses are bad",
        "left out, too hard to judge: 1",
    ]
    assert [(pair.chosen, pair.probability) for pair in read_comparisons("c.jsonl")] == [("a", 0.75), ("b", 1.0)]
    options = ("--format", "comparisons", "--aggregate", "majority", "--margins", "--json")
    ended = trimtab("labels", "export", "mine", "--out", "m.jsonl", *options)
    assert json.loads(ended.out)["exported"] == {"compare": 3}
    assert [(p.probability, p.margin) for p in read_comparisons("m.jsonl")] == [(1.0, 0.0), (1.0, 1.0)]


def say(store: Store, ages: dict[str, str]) -> None:
    with store.write() as db:
        db.executemany(
            "INSERT INTO attributes (annotator, name, value) SELECT id, 'age', ?2 FROM annotators WHERE name = ?1",
            list(ages.items()),
        )


def test_votes_are_balanced_between_what_people_said_of_themselves(trimtab: CommandLine, store: Store) -> None:
    young, old = [f"young {n}" for n in range(5)], [f"old {n}" for n in range(10)]
    labels = [Label(annotator=name, answer=Compared(preference=1 if name in young else -1)) for name in young + old]
    item = next(store.labelled_items()).item
    store.add_labels([LabelledItem(item=item, labels=tuple(labels[:4]))])
    say(store, {name: name.split()[0] for name in young[:4]})
    options = ("--format", "comparisons", "--aggregate", "balanced", "--group")
    ended = trimtab("labels", "export", "mine", "--out", "b.jsonl", *options, "age")
    assert (ended.code, "at least 5 people" in ended.err, Path("b.jsonl").exists()) == (1, True, False)
    store.add_labels([LabelledItem(item=item, labels=tuple(labels[4:]))])
    say(store, {name: name.split()[0] for name in young[4:] + old})
    assert trimtab("labels", "export", "mine", "--out", "b.jsonl", *options, "age").code == 0
    # 15 votes of two groups make 1/2; with ann's and bo's, who said nothing, (15 * 1/2 + 1 + 1/2) / 17
    assert [pair.probability for pair in read_comparisons("b.jsonl")] == [pytest.approx(9 / 17), 1.0]
    ended = trimtab("labels", "export", "mine", "--out", "b.jsonl", *options, "height")
    assert "nobody has" in ended.err


@pytest.mark.parametrize("format", ["argilla", "label-studio"])
def test_other_tools(trimtab: CommandLine, store: Store, tmp_path: Path, format: str) -> None:
    out = {"argilla": "folder", "label-studio": "tasks.json"}[format]
    assert trimtab("labels", "export", "mine", "--out", out, "--format", format).code == 0
    Store.create(tmp_path / "other", Settings())
    ended = trimtab("labels", "import", "other", out)
    labels = {"argilla": 0, "label-studio": 4}[format]  # ann, bo and cy are no users of Argilla's
    assert ended.out.splitlines()[0] == f"{out}, read as {format}: 2 new items, {labels} new labels"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["import", "nowhere", "data.jsonl"], "nowhere is no labelling project"),
        (["import", "mine", "absent.jsonl"], "There is no file or folder absent.jsonl"),
        (["import", "mine", "data.jsonl", "--gold", "some"], "'some' is no amount of items"),
        (["import", "mine", "data.jsonl", "--format", "xml"], "there is no format 'xml'"),
        (
            ["export", "mine", "--out", "a.jsonl", "--format", "xml"],
            "there is no format 'xml' to write; there are jsonl",
        ),
        (["export", "mine", "--out", "a.csv"], "--out a.csv: the format jsonl has the ending .jsonl"),
        (["export", "mine", "--out", "a.json", "--format", "argilla"], "has no ending, as it is a folder"),
        (["export", "mine", "--out", "a.jsonl", "--kind", "all_of_it"], "there is no kind of item 'all_of_it'"),
        (["export", "mine", "--out", "a.jsonl", "--margins"], "are for --format comparisons and trl"),
        (["export", "mine", "--out", "a.jsonl", "--format", "trl", "--margins"], "TRL's columns have no margin"),
        (
            ["export", "mine", "--out", "a.jsonl", "--format", "trl", "--aggregate", "mean"],
            "there is no aggregation 'mean'",
        ),
        (
            ["export", "mine", "--out", "a.jsonl", "--format", "trl", "--aggregate", "balanced"],
            "--aggregate balanced and --group ATTRIBUTE go together",
        ),
        (["export", "mine", "--out", "a.jsonl", "--format", "grades"], "There is nothing to export. Labels left out:"),
    ],
)
def test_errors(trimtab: CommandLine, store: Store, arguments: list[str], expected: str) -> None:
    ended = trimtab("labels", *arguments)
    assert ended.code == 1
    assert expected in ended.err
    assert not Path("a.jsonl").exists()
