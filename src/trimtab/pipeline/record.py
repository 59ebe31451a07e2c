"""A stage's settings as its artifact records them: paths as seen from the recipe, so a record tells no one's home."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trimtab.config.stages import StageConfig


def recorded_config(stage: StageConfig, folder: Path) -> dict[str, Any]:
    """The settings as plain values, with paths relative to the recipe's folder."""
    config = stage.model_dump(mode="json")
    for field in (*stage.files, *stage.references):
        value = config[field]
        config[field] = (
            [_relative(one, folder) for one in value] if isinstance(value, list) else _relative(value, folder)
        )
    return config


def _relative(value: str | None, folder: Path) -> str | None:
    return os.path.relpath(value, folder) if value is not None and os.path.isabs(value) else value
