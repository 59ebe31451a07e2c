"""Threads and number type of a run: measured once on this machine, kept beside the artifacts, told to the user.

They are kept so that a run that is gone on with computes as it did before: its results are bit for bit the same only on
the same threads and in the same number type.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from trimtab.config.base import Runtime
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.machine import processor

FILE = "hardware.json"
SECONDS = 0.06
"""How long each combination is measured at a time."""
ROUNDS = 5
"""How often: what else a computer does for a moment slows one measurement, and the fastest one counts."""
CLEARLY_FASTER = 1.2
"""What bfloat16 must gain to be worth its rounding."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Speeds of matrix products in TFLOP/s, by "threads precision", and what they were measured on."""

    processor: str
    cores: int
    torch: str
    speeds: Mapping[str, float]

    def best(self, runtime: Runtime) -> tuple[int, str]:
        """The fastest number of threads and number type that the runtime's settings leave open."""
        found = {tuple(name.split()): speed for name, speed in self.speeds.items()}
        by_precision = {}
        for precision in ("fp32", "bf16"):
            speeds = {int(threads): speed for (threads, one), speed in found.items() if one == precision}
            threads = runtime.threads or max(speeds, key=lambda n: speeds[n])
            by_precision[precision] = threads, speeds.get(threads, max(speeds.values()))
        precision = runtime.precision
        if precision == "auto":
            gain = by_precision["bf16"][1] / by_precision["fp32"][1]
            precision = "bf16" if gain >= CLEARLY_FASTER else "fp32"
        return by_precision[precision][0], precision


def settle(runtime: Runtime, store: Path, say: Callable[[str], None]) -> Runtime:
    """The runtime with threads and precision fixed. On other devices than a CPU it is left as it is."""
    from trimtab.models.hardware import choose_device

    if choose_device(runtime.device).type != "cpu" or (runtime.threads and runtime.precision != "auto"):
        return runtime
    speeds = _kept(store)
    if speeds is None:
        speeds = measured()
        store.mkdir(parents=True, exist_ok=True)
        replace_text(store / FILE, json.dumps(asdict(speeds), indent=1))
    threads, precision = speeds.best(runtime)
    rates = ", ".join(f"{_words(name)} {speed:.2f}" for name, speed in speeds.speeds.items())
    say(
        f"Computing on {_threads(threads)} in {precision}. TFLOP/s measured here: {rates}. runtime.threads and "
        "runtime.precision fix them"
    )
    return runtime.model_copy(update={"threads": threads, "precision": precision})


@cache
def measured() -> Speeds:
    """Measure this machine, once a process."""
    import torch

    before = torch.get_num_threads()
    numbers = sorted({before, max(before // 2, 1)}, reverse=True)
    try:
        combinations = [(threads, precision) for threads in numbers for precision in ("fp32", "bf16")]
        rounds = [[_speed(*one) for one in combinations] for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(before)
    speeds = {
        f"{threads} {precision}": round(max(found), 4)
        for (threads, precision), found in zip(combinations, zip(*rounds, strict=True), strict=True)
    }
    return Speeds(processor(), os.cpu_count() or 1, torch.__version__, speeds)


def _speed(threads: int, precision: str) -> float:
    """TFLOP/s of the products of a feed-forward layer like those of small models."""
    import torch

    from trimtab.models.hardware import PRECISIONS

    torch.set_num_threads(threads)
    tokens = torch.ones(512, 576, dtype=PRECISIONS[precision])
    weight = torch.ones(1536, 576, dtype=PRECISIONS[precision])
    operations = 2 * 512 * 576 * 1536
    tokens @ weight.t()  # the first product sets things up
    began, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < SECONDS:
        tokens @ weight.t()
        done += 1
    return done * operations / seconds / 1e12


def _kept(store: Path) -> Speeds | None:
    """What was measured for this store, if it was on this machine."""
    import torch

    try:
        speeds = Speeds(**json.loads((store / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    here = (processor(), os.cpu_count() or 1, torch.__version__)
    return speeds if (speeds.processor, speeds.cores, speeds.torch) == here else None


def _words(name: str) -> str:
    threads, precision = name.split()
    return f"{precision} on {_threads(int(threads))}"


def _threads(number: int) -> str:
    return f"{number} thread" if number == 1 else f"{number} threads"
