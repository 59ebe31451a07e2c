"""A stage's settings as its artifact records them: paths as seen from the recipe, so a record tells no one's home."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.config.base import StageConfig


def recorded_config(stage: StageConfig, folder: Path) -> dict[str, Any]:
    """The settings as plain values: paths in the recipe's folder relative to it, of others the last name alone."""
    config = stage.model_dump(mode="json")
    for field in (*stage.files, *stage.references):
        value = config[field]
        config[field] = (
            [_relative(one, folder) for one in value] if isinstance(value, list) else _relative(value, folder)
        )
    return config


def _relative(value: str | None, folder: Path) -> str | None:
    if value is None or not Path(value).is_absolute():
        return value
    path = Path(value)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
