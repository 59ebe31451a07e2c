"""What a training loop needs from whoever runs it. The pipeline's `Context` is one; a test may bring its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Run(Protocol):
    """Where a loop keeps its state, tells its numbers and hears that it should stop."""

    @property
    def state(self) -> Path:
        """Folder for resume state. It survives a kill and is removed when the stage is done."""

    def log(self, metrics: Mapping[str, float]) -> None:
        """Append one step's numbers to the log."""

    def rewind_log(self, step: int) -> None:
        """Drop what was logged after `step`: those steps are about to be done again."""

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        """Show how far a long piece of work is."""

    def warn(self, message: str) -> None:
        """Tell the user of something that may spoil the result but does not stop the work."""

    def stop_requested(self) -> bool:
        """Whether the user asked to stop. A loop answers by saving its state and raising `Interrupted`."""
