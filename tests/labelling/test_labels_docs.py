"""docs/labels.md says what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

from trimtab.cli.labels import EXPORTS
from trimtab.labelling.aggregating import BALANCED, BY_VOTES
from trimtab.labelling.importing import KINDS, open_source
from trimtab.labelling.records import ANSWER, Item, Label

PAGE = (Path(__file__).parents[2] / "docs" / "labels.md").read_text("utf-8")


def table(header: str) -> list[str]:
    """The first column of the table with this header, without the quotes."""
    found = re.search(rf"^\| {re.escape(header)} ?\|.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found is not None, header
    cells = [line.split("|")[1] for line in found[1].splitlines()]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_field_is_documented():
    assert table("field of `item`") == list(Item.model_fields)
    assert table("field of a label") == list(Label.model_fields)


def test_every_answer_is_documented():
    assert set(table("`kind`")) == {*KINDS, "too_hard"}


def test_every_kind_has_an_example_that_is_read(tmp_path: Path):
    examples = PAGE.split("```jsonl\n")[1].split("```")[0]
    path = tmp_path / "labels.jsonl"
    path.write_text(examples, "utf-8")
    found = list(open_source(path))
    assert [one.item.kind for one in found] == list(KINDS)
    assert all(one.labels for one in found)
    for line in examples.splitlines():
        assert all(ANSWER.validate_python(label["answer"]) for label in json.loads(line)["labels"])


def test_every_format_and_aggregation_is_documented():
    assert table("`--format`") == list(EXPORTS)
    assert table("") == [*BY_VOTES, BALANCED]
