"""Exact resume: everything a loop needs to go on as if it had never been killed, saved atomically.

All randomness of a step is a function of (seed, step), so the state is the trained tensors, the optimiser's moments
and a few numbers. On the same machine and thread count a resumed run ends bit for bit where an uninterrupted one does.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trimtab.errors import Interrupted, ModelError
from trimtab.files import sync
from trimtab.training.run import Run

TENSORS, NUMBERS = "tensors.safetensors", "numbers.json"


class Checkpoint:
    """Saves and restores named parameters and their optimisers, with a step and a few numbers of the loop's own.

    A checkpoint is a folder `step-N` in the run's state folder. It is written under another name, synced, renamed, and
    only then is the older one removed, so a kill at any moment leaves a whole one.
    """

    def __init__(
        self,
        run: Run,
        parameters: Mapping[str, nn.Parameter],
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        every_seconds: float,
    ) -> None:
        self.run = run
        self.folder = run.state
        self.parameters = dict(parameters)
        self.moments = {
            p: optimizer.state for optimizer in optimizers for g in optimizer.param_groups for p in g["params"]
        }
        self.every_seconds = every_seconds
        self._saved_at = time.monotonic()

    def restore(self) -> tuple[int, dict[str, float]]:
        """Load the newest checkpoint in place: (steps done, the loop's numbers). (0, {}) when there is none."""
        steps = _steps(self.folder)
        self.run.rewind_log(steps[-1] if steps else 0)
        if not steps:
            return 0, {}
        folder = self.folder / f"step-{steps[-1]}"
        try:
            numbers = json.loads((folder / NUMBERS).read_text())
            with safe_open(folder / TENSORS, framework="pt") as file:
                self._load(file)
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"the checkpoint {folder} cannot be used: {error}\nRemove {self.folder} to start this stage again"
            ) from error
        return steps[-1], numbers

    def step_done(self, step: int, total: int, numbers: Mapping[str, float] | None = None) -> None:
        """After each step: save when it is time or when asked to stop, and in that case raise `Interrupted`."""
        stopping = self.run.stop_requested() and step < total
        if stopping or time.monotonic() - self._saved_at >= self.every_seconds:
            self.save(step, numbers or {})
        if stopping:
            raise Interrupted(f"stopped after step {step} of {total}; the state is saved")

    def save(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write a checkpoint now and remove the older ones."""
        final = self.folder / f"step-{step}"
        partial = self.folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(self._tensors(), partial / TENSORS)
        (partial / NUMBERS).write_text(json.dumps(dict(numbers)))
        for path in (partial / TENSORS, partial / NUMBERS, partial):
            sync(path)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        sync(self.folder)
        for older in _steps(self.folder):
            if older != step:
                shutil.rmtree(self.folder / f"step-{older}")
        self._saved_at = time.monotonic()

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"parameter/{name}": p.detach().contiguous() for name, p in self.parameters.items()}
        for name, parameter in self.parameters.items():
            for moment, value in self.moments[parameter][parameter].items():
                tensors[f"{moment}/{name}"] = value.detach().contiguous()
        return tensors

    def _load(self, file: Any) -> None:
        keys = set(file.keys())
        if absent := [name for name in self.parameters if f"parameter/{name}" not in keys]:
            raise KeyError(f"it has no {absent[0]}")
        with torch.no_grad():
            for key in keys:
                kind, name = key.split("/", 1)
                parameter = self.parameters[name]
                if kind == "parameter":
                    parameter.copy_(file.get_tensor(key))
                else:
                    self.moments[parameter][parameter][kind] = file.get_tensor(key).to(parameter.device)


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))
