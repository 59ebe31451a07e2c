"""Artifacts: what a stage leaves, a folder that is whole as soon as it can be seen.

<store>/<stage>-<key>/           the artifact: artifact.json, metrics.jsonl and the stage's own files
<store>/<stage>-<key>.partial/   an artifact being written; worthless after a kill
<store>/<stage>-<key>.state/     what a stage needs to go on after a kill; removed when it is done
<store>/calls/<stage>.jsonl      what a stage paid for, under whatever key; kept until somebody removes it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trimtab.errors import DataError
from trimtab.files import sync
from trimtab.pipeline.disk import sync_tree

RECORD, METRICS, REPORT = "artifact.json", "metrics.jsonl", "report.html"
DATA = "data.jsonl"
"""What a stage leaves whose artifact is data to learn from."""
ANSWERS = "answers.jsonl"
"""What an evaluation leaves of every answer that it measured."""
CHAINS = "chains.jsonl"
"""What a stage that revises leaves for people to read: every draft, critique and revision."""
CALLS = "calls.jsonl"
"""What a stage leaves whose model is behind a server: every call it ever made."""
PARTIAL, STATE = ".partial", ".state"
KEY_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Record:
    """What `artifact.json` says: the stage, its settings as in the recipe, its inputs, what came of it, and on what."""

    name: str
    kind: str
    key: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    seconds: float
    summary: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    created: str


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished stage's folder and its record."""

    path: Path
    record: Record

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.record.name

    @property
    def kind(self) -> str:
        """The stage's kind."""
        return self.record.kind

    @property
    def key(self) -> str:
        """The stage's key."""
        return self.record.key


def artifact_folder(store: Path, name: str, key: str) -> Path:
    """Where the artifact of a stage with this key lies, or will lie."""
    return store / f"{name}-{key[:KEY_CHARACTERS]}"


def partial_folder(folder: Path) -> Path:
    """Where an artifact is written until it is whole."""
    return folder.with_name(folder.name + PARTIAL)


def state_folder(folder: Path) -> Path:
    """Where a stage keeps what it needs to go on."""
    return folder.with_name(folder.name + STATE)


def call_log(store: Path, name: str) -> Path:
    """Where a stage keeps its calls to a server. Each stage has its own, so a cap is for one stage."""
    return store / "calls" / f"{name}.jsonl"


def data_source(inputs: Mapping[str, Artifact], data: str) -> str:
    """Where data comes from: what an earlier stage made, or the path itself."""
    return str(inputs[data].path / DATA) if data in inputs else data


def read_artifact(folder: Path) -> Artifact:
    """Read a finished artifact. Raises `DataError` when its record is absent or damaged."""
    try:
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Artifact(folder, Record(**values))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{folder} is no whole artifact: its {RECORD} cannot be used ({error}). Remove the folder to make it again"
        ) from error


def artifacts_in(store: Path) -> list[Artifact]:
    """All finished artifacts of a store, oldest first."""
    folders = [path.parent for path in store.glob(f"*/{RECORD}") if path.parent.suffix not in (PARTIAL, STATE)]
    return sorted(map(read_artifact, folders), key=lambda artifact: artifact.record.created)


def publish(folder: Path, record: Record) -> Artifact:
    """Make the partial folder the artifact: its record written, all of it synced, then renamed."""
    partial = partial_folder(folder)
    text = json.dumps(asdict(record), indent=2, ensure_ascii=False)
    (partial / RECORD).write_text(text + "\n", encoding="utf-8")
    sync_tree(partial)
    partial.rename(folder)
    sync(folder.parent)
    return Artifact(folder, record)


def now() -> str:
    """The present moment in ISO format."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def versions() -> dict[str, str]:
    """The versions that a result depends on, looked up without importing the packages."""
    return {name: version(name) for name in ("trimtab", "torch", "transformers")}
