"""YAML as people expect it, where PyYAML's own rules surprise."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.config.yaml import parse_yaml
from trimtab.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("12", 12),
        ("-0", 0),
        ("true", True),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("no", "no"),
        ("2030-01-01", "2030-01-01"),
        ("1:30", "1:30"),
        ("010", 10),
        ("1e-4x", "1e-4x"),
        ("'1e-4'", "1e-4"),
        ("e5", "e5"),
        (".", "."),
    ],
)
def test_plain_values(text: str, expected: Any) -> None:
    found = parse_yaml(text)
    assert found == expected
    assert type(found) is type(expected)


def test_anchors_and_merges_work() -> None:
    assert parse_yaml("a: &x {rank: 8, alpha: 16}\nb: {<<: *x, rank: 4}")["b"] == {"rank": 4, "alpha": 16}


def test_no_tag_makes_an_object() -> None:
    with pytest.raises(RecipeError, match="not valid YAML"):
        parse_yaml("!!python/object/apply:os.getcwd []")
