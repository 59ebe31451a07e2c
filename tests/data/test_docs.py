from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trimtab.data.shapes import find_shape

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
ROWS = [
    (line.split("|")[1].strip(), row)
    for line in PAGE.splitlines()
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
