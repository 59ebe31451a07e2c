from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trimtab.data.shapes import find_shape
from trimtab.evaluation.tasks.truth_checks import KINDS, parse_checks

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
FORMATS, CHECKS = PAGE.split("## Bad rows")[0].split("## Checks of the truth")
ROWS = [
    (line.split("|")[1].strip(), row)
    for line in FORMATS.splitlines()
    if line.startswith("|")
    for row in re.findall(r"`(\{.*?\})`", line)
    if "..." not in row
]


def test_the_page_has_rows():
    assert len(ROWS) >= 12


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_every_row_on_the_page_is_read_as_the_format_it_is_listed_under(name, row):
    value = json.loads(row)
    shape = find_shape(value)
    assert shape is not None
    assert shape.name.split(" (")[0] == name.split(" (")[0]
    assert shape.records(value)


def test_every_truth_on_the_page_can_be_checked():
    truths = [json.loads(row)["truth"] for _, row in ROWS if "truth" in row]
    assert truths
    assert all(parse_checks(truth, "on the page") for truth in truths)


def test_every_kind_of_check_has_an_example():
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\{.*\})` \|$", CHECKS, re.MULTILINE)
    assert [kind for kind, _ in rows] == list(KINDS)
    for kind, truth in rows:
        assert [check.kind for check in parse_checks(json.loads(truth), "on the page")] == [kind]
