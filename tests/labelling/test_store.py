"""The store: what comes back is what went in, whoever asks and whenever the process ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.labelling.world import gold_pair, pair, project

from trimtab.errors import LabellingError
from trimtab.labelling import people
from trimtab.labelling.records import Compared, Item, Label, LabelledItem, Ranked
from trimtab.labelling.settings import Settings
from trimtab.labelling.store import Store

WRITER = """
import sys, time
from pathlib import Path
from trimtab.labelling.assignment import next_task, record
from trimtab.labelling.records import Compared
from trimtab.labelling.store import Store
store = Store.open(Path(sys.argv[1]))
ann = store.read("SELECT id FROM annotators WHERE name = 'ann'")[0]["id"]
while (task := next_task(store, ann, now=time.time())) is not None:
    record(store, task.lease, ann, Compared(preference=1), now=time.time())
    print(task.item.key, flush=True)
"""


def test_items_and_labels_come_back(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1), pair(2)])
    label = Label(
        annotator="cy", answer=Compared(preference=-2, reason="shorter"), order=(1, 0), seconds=3.5, at="then"
    )
    entry = LabelledItem(item=pair(3, sources=("a", "b"), critiques=("good", "bad")), labels=(label,))
    assert store.add_labels([entry]) == 1
    assert store.add_labels([entry]) == 0
    assert list(Store.open(tmp_path).labelled_items())[2] == entry
    assert store.annotators() == ["ann", "bo", "cy"]


def test_an_item_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    store = project(tmp_path, [pair(1)])
    assert store.add_items([pair(1), pair(2), pair(2)]) == 1
    assert store.counts()["items"] == 2


def test_counts(tmp_path: Path) -> None:
    """Two votes wanted of each of two items; one has three, the other one: 2 + 1 of 4, one item done."""
    store = project(tmp_path, [gold_pair(9)], overlap=2)
    vote = [Label(annotator=name, answer=Compared(preference=1)) for name in ("ann", "bo", "cy")]
    store.add_labels([LabelledItem(item=pair(1), labels=tuple(vote)), LabelledItem(item=pair(2), labels=(vote[0],))])
    assert store.counts() == {"items": 2, "done": 1, "wanted": 4, "given": 3, "gold": 1, "quiz": 0, "labels": 4}


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(LabellingError, match=r"no labelling project: it has no label.yaml.*--data"):
        Store.open(tmp_path)
    (tmp_path / "label.yaml").write_text("overlap: 0\ncolour: red\n")
    with pytest.raises(LabellingError, match=r"(?s)overlap: .*colour: .*The settings are: title, overlap"):
        Store.open(tmp_path)
    (tmp_path / "label.yaml").write_text("title: ok\n")
    with pytest.raises(LabellingError, match=r"no labels.db"):
        Store.open(tmp_path)
    (tmp_path / "labels.db").write_text("not a database, but longer than a header of one hundred bytes is" * 3)
    with pytest.raises(LabellingError, match="is no database"):
        Store.open(tmp_path)
    with pytest.raises(LabellingError, match="labelling project already"):
        Store.create(tmp_path, Settings())


def test_guidelines_that_were_there_first_are_kept(tmp_path: Path) -> None:
    (tmp_path / "guidelines.md").write_text("# Ours\n")
    assert Store.create(tmp_path, Settings()).guidelines() == (1, "# Ours\n")


def test_settings_are_written_with_their_meaning_and_read_again(tmp_path: Path) -> None:
    Store.create(tmp_path, Settings(title="Ferries", overlap=3))
    text = (tmp_path / "label.yaml").read_text()
    assert "# Votes every item gets, from different people.\noverlap: 3" in text
    assert Store.open(tmp_path).settings == Settings(title="Ferries", overlap=3)


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = project(tmp_path, [])

    def items() -> list[Item]:
        yield pair(1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.add_items(items())
    assert store.counts()["items"] == 0
    assert store.add_items([pair(1)]) == 1


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"kind": "compare", "responses": ("a",)}, "has 2 responses, not 1"),
        ({"kind": "rank", "responses": ("a",) * 10}, "2 to 9 responses, not 10"),
        ({"kind": "compare", "responses": ("a", "b"), "critiques": ("one",)}, "critiques are one a response"),
        ({"kind": "compare", "responses": ("a", "b"), "is_quiz": True}, "needs its gold answer"),
        ({"kind": "rank", "responses": ("a", "b"), "gold": Ranked(tiers=((0,),))}, "each of the 2 responses once"),
    ],
)
def test_items_that_do_not_fit_together(broken: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Item(prompt=pair(1).prompt, **broken)


def test_every_acknowledged_label_is_there_after_a_kill(tmp_path: Path) -> None:
    """A process that labels and says so after each one is killed at some moment, ten times."""
    people.invite(Store.create(tmp_path, Settings(overlap=1)), ["ann"])
    Store.open(tmp_path).add_items(pair(n) for n in range(3000))
    acknowledged: list[str] = []
    for moment in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().strip()]
        time.sleep(0.013 * moment)
        writer.kill()
        acknowledged += writer.stdout.read().splitlines()
        writer.wait()
    stored = [entry.item.key for entry in Store.open(tmp_path).labelled_items() if entry.labels]
    whole = {line for line in acknowledged if len(line) == 16}  # the kill may cut the last line short
    assert len(whole) >= 10
    assert whole <= set(stored)
    assert len(stored) <= len(whole) + 10  # at most one a process was stored but not yet told
