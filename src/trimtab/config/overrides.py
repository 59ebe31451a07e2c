"""Settings given on the command line: `policy.kl_coef=0.1`, `seed=3`, `runtime.threads=1`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trimtab.config.recipe import nearest
from trimtab.config.yaml import parse_yaml
from trimtab.errors import RecipeError


def apply_override(raw: dict[str, Any], override: str, top_level: Iterable[str]) -> None:
    """Set one value in a recipe as read. The first part is a stage's name or a top-level key.

    Whether the last parts exist is left to the recipe's own check.
    """
    place, equals, text = override.partition("=")
    parts = place.strip().split(".")
    if not equals or not all(parts):
        raise RecipeError(f"the override {override!r} is not written as stage.setting=value")
    written = raw.get("stages")
    stages = written if isinstance(written, dict) else {}
    if parts[0] in stages:
        parts.insert(0, "stages")
    elif parts[0] not in top_level:
        raise RecipeError(
            f"the override {override!r}: unknown name {parts[0]!r}{nearest(parts[0], [*stages, *top_level])}"
        )
    target = raw
    for part in parts[:-1]:
        if target.get(part) is None:
            target[part] = {}
        if not isinstance(target[part], dict):
            raise RecipeError(f"the override {override!r}: {part} holds {target[part]!r} and has nothing inside it")
        target = target[part]
    target[parts[-1]] = _value(text)


def _value(text: str) -> Any:
    """The value as YAML. A path that exists is meant as seen from here, not from the recipe."""
    value = parse_yaml(text)
    if isinstance(value, str) and ("/" in value or "." in value) and Path(value).expanduser().exists():
        return str(Path(value).expanduser().resolve())
    return value
