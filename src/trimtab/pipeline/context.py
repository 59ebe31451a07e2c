"""What a stage is given beside its settings and inputs: folders, a log, a place to tell progress, the wish to stop."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from trimtab.config.base import DataStage, Runtime
from trimtab.pipeline.artifacts import METRICS
from trimtab.pipeline.disk import replace_text

PROGRESS = "progress.json"
_SECONDS_BETWEEN_NOTES = 1.0


class ShowProgress(Protocol):
    """Shows how far a long piece of work is."""

    def __call__(self, description: str, done: int, total: int, **fields: object) -> None:
        """`fields` are a few numbers worth seeing."""


@dataclass
class Context:
    """One stage's run. It is a `trimtab.training.run.Run`.

    `folder` is where the artifact is written; `calls` is the log of calls to a server, which outlasts a change of
    settings; `folders` are the artifacts of all stages it stands on, in running order; `learnt_from` are the settings
    of those that learnt from data, by name.
    """

    folder: Path
    state: Path
    calls: Path
    seed: int
    runtime: Runtime
    title: str
    recipe: Path
    folders: tuple[Path, ...]
    learnt_from: Mapping[str, DataStage]
    command: str
    show: ShowProgress
    tell: Callable[[str], None]
    stop: Callable[[], bool]
    _note: dict[str, Any] = field(init=False)
    _seconds_before: float = field(init=False)
    _began: float = field(init=False)
    _noted_at: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        self._note = read_progress(self.state)
        self._seconds_before = self._note.get("seconds", 0.0)
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the stage has been at work, in this session and the ones before."""
        return self._seconds_before + time.monotonic() - self._began

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append one step's numbers to the log, in the state folder so that it survives a kill."""
        with (self.state / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(metrics)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rewind_log(self, step: int) -> None:
        """Drop what was logged after `step`, and a line that a kill cut short."""
        path = self.state / METRICS
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            replace_text(path, "".join(line for line in lines if _step_of(line) <= step))

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        """Show how far a long piece of work is, and note it for `trimtab status`."""
        self.show(description, done, total, **fields)
        self._note = {"description": description, "done": done, "total": total}
        if time.monotonic() - self._noted_at >= _SECONDS_BETWEEN_NOTES:
            self.note()

    def note(self) -> None:
        """Write down how far the stage is and how long it took until now."""
        replace_text(self.state / PROGRESS, json.dumps({**self._note, "seconds": self.seconds}))
        self._noted_at = time.monotonic()

    def warn(self, message: str) -> None:
        """Tell the user of something that may spoil the result."""
        self.tell(message)

    def stop_requested(self) -> bool:
        """Whether the user asked to stop."""
        return self.stop()


def read_progress(state: Path) -> dict[str, Any]:
    """How far a stage came and the seconds it took, as noted in its state folder; empty when nothing is."""
    try:
        return json.loads((state / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf
