"""YAML as people expect it: `1e-4` is a number, `on` and `2030-01-01` are text, and no key comes twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from trimtab.errors import RecipeError


class _Loader(yaml.SafeLoader):
    """The plain types of YAML 1.2, where PyYAML's own are those of 1.1."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN)", "-+.0123456789"),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise RecipeError(f"line {line}: a name is plain text, not a list or {{...}}; write {{{{ }}}} in quotes")
        key = key_node.value
        if key in seen:
            raise RecipeError(f"line {line}: the key {key!r} comes twice in one place; remove one")
        seen.add(key)
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))  # 010 is ten


def parse_yaml(text: str) -> Any:
    """The value of a YAML text. Raises `RecipeError` naming the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RecipeError(f"{where}not valid YAML: {getattr(error, 'problem', None) or error}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds. Raises `RecipeError` when it cannot be read or holds something else."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError("this is not text in UTF-8, so it is no recipe") from error
    except OSError as error:
        raise RecipeError(f"the recipe cannot be read: {error.strerror}") from error
    value = parse_yaml(text)
    if not isinstance(value, dict):
        raise RecipeError("a recipe is settings (name: value) with stages among them; this is not")
    return value
