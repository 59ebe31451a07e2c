"""What there is in a store: finished stages and those under way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import UserError
from trimtab.pipeline.artifacts import STATE, artifacts_in
from trimtab.pipeline.context import read_progress
from trimtab.pipeline.disk import is_locked


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage in a store. `folder` is its name inside the store; `kind` is empty while it is under way."""

    name: str
    kind: str
    progress: str
    seconds: float
    folder: str


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """A store, whether a run is at work in it now, and its stages: finished ones by age, then those under way."""

    folder: Path
    running: bool
    stages: tuple[StageStatus, ...]


def status_of(folder: Path) -> list[StoreStatus]:
    """The status of a store, or of every store in a folder. Raises `UserError` when there is none."""
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []
    stores = [one for one in map(_store, candidates) if one.stages or one.running]
    if not stores:
        raise UserError(f"there is no run in {folder}. Start one with: trimtab run RECIPE")
    return stores


def _store(folder: Path) -> StoreStatus:
    finished = [
        StageStatus(one.name, one.kind, "done", one.record.seconds, one.path.name) for one in artifacts_in(folder)
    ]
    names = {one.folder + STATE for one in finished}
    open_ones = [_open(path) for path in sorted(folder.glob(f"*{STATE}")) if path.name not in names]
    return StoreStatus(folder, is_locked(folder), (*finished, *open_ones))


def _open(state: Path) -> StageStatus:
    progress = read_progress(state)
    folder = state.name.removesuffix(STATE)
    text = "begun"
    if "total" in progress:
        text = f"{progress['description']} {progress['done']}/{progress['total']}"
    saved = [int(path.name.removeprefix("step-")) for path in state.glob("step-*")]
    if saved:
        text += f", saved at step {max(saved)}"
    return StageStatus(folder.rpartition("-")[0], "", text, progress.get("seconds", 0.0), folder)
