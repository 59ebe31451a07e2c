"""What a stage ran on, in words, for its record: results are compared across machines more often than one thinks."""

from __future__ import annotations

import os
import platform
import resource
import sys

from trimtab.config.base import Runtime


def machine(runtime: Runtime) -> dict[str, str]:
    """Processor, cores, threads, device, number type, system, and the largest memory this process had until now."""
    import torch

    from trimtab.pipeline.resolve import hardware

    device, dtype = hardware(runtime)
    return {
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "peak memory": f"{_peak_bytes() / 2**30:.1f} GiB",
    }


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
