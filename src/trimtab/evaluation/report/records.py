"""Reading what stages left behind: `artifact.json`, `metrics.jsonl` and `evaluation.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import DataError


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage's artifact: what it was told, what it came to, and its numbers step by step."""

    name: str
    kind: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    seconds: float
    metrics: tuple[Mapping[str, float], ...]
    evaluation: Mapping[str, Any] | None = None

    def curve(self, metric: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Steps and values of a metric, where it was logged. What is not a number becomes NaN."""
        rows = [row for row in self.metrics if metric in row]
        return tuple(float(row["step"]) for row in rows), tuple(_number(row[metric]) for row in rows)


def is_scored_by_checks(kind: str, config: Mapping[str, Any]) -> bool:
    """Whether a stage of this kind and with these settings scored its model by checks alone."""
    scorers = (config.get(name) for name in ("reward_model", "grader", "endpoint"))
    return kind == "grpo" and all(scorer is None for scorer in scorers)


def read_stage(folder: Path) -> StageRecord:
    """Read an artifact folder. Raises `DataError` that names the file and, in a log, the line."""
    artifact = _read_json(folder / "artifact.json")
    log, evaluation = folder / "metrics.jsonl", folder / "evaluation.json"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    missing = [key for key in ("name", "kind", "config", "seconds") if key not in artifact]
    if missing:
        raise DataError(f"{folder / 'artifact.json'} lacks {', '.join(missing)}: it was not written by trimtab")
    return StageRecord(
        name=artifact["name"],
        kind=artifact["kind"],
        config=artifact["config"],
        summary=artifact.get("summary") or {},
        seconds=float(artifact["seconds"]),
        metrics=tuple(_parse(line, f"{log}, line {number}") for number, line in enumerate(lines, 1) if line.strip()),
        evaluation=_read_json(evaluation) if evaluation.exists() else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where} should be a JSON object, not {type(value).__name__}")
    return value


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
