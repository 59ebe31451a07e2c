"""What every measured side does alike: take a job, say what came out. It imports no library that a side might lack."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Result = dict[str, Any]

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "llama-cpp-python", "trimtab")


def serve(work: Callable[[Job], Result]) -> None:
    """Do the job in the file named on the command line and print its result as the last line of the output."""
    job = json.loads(Path(sys.argv[1]).read_text())
    result = work(job)
    print(json.dumps(result | {"peak_bytes": peak_bytes(), "versions": versions()}), flush=True)


def peak_bytes() -> int:
    """The most memory this process ever held.

    Linux hands a child its parent's `ru_maxrss`; the high-water mark of the address space is the process's own.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    """The versions of the libraries a side may use, where they are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def timed(seconds: list[float]) -> Any:
    """Append how long the block took."""
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)


def quiet() -> None:
    """No bars, and no hub: to be called before the libraries are imported."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
