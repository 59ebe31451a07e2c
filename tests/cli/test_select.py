"""`trimtab labels select`: what it prints, and what it says when it cannot choose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from tests.labelling.world import pair, project
from tests.training.world import tiny_policy
from typer import Typer
from typer.testing import CliRunner

from trimtab.cli.select import select_command
from trimtab.errors import LabellingError, ModelError
from trimtab.labelling.records import Compared, Item, Label, LabelledItem, Turn
from trimtab.labelling.store import Store


def select(*arguments: object) -> Result:
    app = Typer()
    app.command()(select_command)
    return CliRunner().invoke(app, list(map(str, arguments)))


def judged(number: int) -> LabelledItem:
    """Whoever votes likes the longer answer."""
    prompt = (Turn(role="user", content=f"question {number}"),)
    item = Item(kind="compare", prompt=prompt, responses=("yes " * (1 + number % 4), "no"))
    return LabelledItem(item=item, labels=(Label(annotator="ann", answer=Compared(preference=1)),))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    tiny_policy().save(tmp_path / "model")
    store = project(tmp_path / "mine", [pair(number) for number in range(7)])
    store.add_labels(map(judged, range(100, 120)))
    return store


def test_the_queue_is_in_order_and_the_output_says_so(store: Store, tmp_path: Path) -> None:
    ended = select(store.folder, "--model", tmp_path / "model", "--heads", 4)
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[:2] == [
        "Fitted to 20 pairs with votes; uncertainty by even",
        "Next come 20 pairs that have labels, while they need more, then 7 others:",
    ]
    queue = [row["key"] for row in store.read("SELECT key FROM items WHERE priority < 1 ORDER BY priority DESC")]
    assert [line.split(":")[0].strip() for line in lines[2:7]] == queue[:5]
    assert lines[7:] == ["  ..."]


def test_json_is_the_whole_order_and_follows_from_the_seed(store: Store, tmp_path: Path) -> None:
    first, again, other = (
        select(store.folder, "--model", tmp_path / "model", "--by", "information", "--json", "--seed", seed).stdout
        for seed in (0, 0, 1)
    )
    assert first == again != other
    found = json.loads(first)
    assert {name: found[name] for name in ("fitted", "begun", "by")} == {"fitted": 20, "begun": 20, "by": "information"}
    assert len(found["pairs"]) == 7
    assert set(found["pairs"][0]) == {"key", "probability", "uncertainty"}


def test_what_cannot_be_done(store: Store, tmp_path: Path) -> None:
    """Votes are looked at before a model is loaded."""
    young = project(tmp_path / "young", [pair(1)])
    assert isinstance(select(young.folder, "--model", "nothing").exception, LabellingError)
    assert isinstance(select(store.folder, "--model", "nothing").exception, ModelError)
    assert "it can by information and even" in str(select(store.folder, "--model", "nothing", "--by", "luck").exception)
    assert isinstance(select(tmp_path / "nowhere", "--model", "nothing").exception, LabellingError)
    assert "--heads" in select(store.folder, "--model", tmp_path / "model", "--heads", 1).output
