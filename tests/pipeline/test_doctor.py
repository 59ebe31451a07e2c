"""Checks of the machine and the installation, on numbers made up for them."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trimtab.models import bundled
from trimtab.pipeline import doctor
from trimtab.pipeline.doctor import (
    GIB,
    Finding,
    check_default_model,
    check_disk,
    check_extras,
    check_machine,
    check_memory,
    check_packages,
    check_python,
    check_threads,
)

REQUIRED = ["torch>=2.6", "typer>=0.15", "pyarrow>=15; extra == 'parquet'", "datasets>=3; extra == 'datasets'"]


def test_python_has_a_range() -> None:
    assert check_python("3.12.1", ">=3.11") == Finding("Python", "ok", "3.12.1 (needs >=3.11)")
    assert check_python("3.10.9", ">=3.11").status == "problem"


def test_packages_are_compared_with_the_metadata() -> None:
    absent, old = check_packages(REQUIRED, {"typer": "0.14.0"})
    assert (absent.check, absent.status) == ("torch", "problem")
    assert absent.detail == "is not installed; trimtab needs >=2.6"
    assert (old.check, old.status, old.remedy) == ("typer", "problem", "Install it: pip install 'typer>=0.15'")
    found = check_packages(REQUIRED, {"torch": "2.13.0+cpu", "typer": "0.16.0.dev1"})
    assert [(one.check, one.status) for one in found] == [("torch", "ok"), ("typer", "ok")]


def test_being_without_an_extra_is_fine() -> None:
    pyarrow, datasets = check_extras(REQUIRED, {"pyarrow": "14.0"})
    assert (pyarrow.check, pyarrow.status) == ("pyarrow", "problem")  # there, but too old to work
    assert (datasets.check, datasets.status) == ("datasets", "ok")
    assert "pip install 'trimtab[datasets]'" in datasets.detail


@pytest.mark.parametrize(("free", "status"), [(1 * GIB, "problem"), (3 * GIB, "warning"), (8 * GIB, "ok")])
def test_memory(free: int, status: str) -> None:
    finding = check_memory(free)
    assert finding.status == status
    assert bool(finding.remedy) == (status != "ok")


@pytest.mark.parametrize(("free", "status"), [(0.5, "problem"), (3, "warning"), (8, "ok")])
def test_disk(free: float, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free * GIB)))
    finding = check_disk("disk", tmp_path / "not" / "made" / "yet")
    assert finding.status == status
    assert str(tmp_path / "not" / "made" / "yet") in finding.detail


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert check_disk("disk", tmp_path).detail == f"may not write in {tmp_path}"


def test_more_threads_than_cores_are_a_warning() -> None:
    assert check_threads(2, 2).status == "ok"
    assert check_threads(1, 2).status == "ok"
    crowded = check_threads(8, 2)
    assert (crowded.status, crowded.remedy) == ("warning", "Set runtime.threads=2 or OMP_NUM_THREADS=2.")


def test_the_default_model_and_the_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "user_cache_path", lambda _: tmp_path)
    assert check_default_model().status == "warning"
    assert "trimtab models fetch smollm2-135m-instruct" in check_default_model().remedy
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert check_default_model().status == "problem"
    folder = bundled.cached_folder(bundled.BUNDLED[doctor.DEFAULT_MODEL])
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert check_default_model() == Finding("default model", "ok", f"smollm2-135m-instruct is in the cache: {folder}")


def test_a_container_has_the_memory_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"memory.max": "5000", "memory.current": "2000"}
    monkeypatch.setattr(doctor.Path, "read_text", lambda path: given[path.name])
    assert doctor.free_memory() == 3000
    given["memory.max"] = "max"
    assert doctor.free_memory() > 3000


def test_this_machine_is_checked_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    findings = check_machine(tmp_path)
    checks = [finding.check for finding in findings]
    assert len(set(checks)) == len(checks)
    assert {"Python", "torch", "transformers", "peft", "pyarrow", "datasets", "processor", "computing"} <= set(checks)
    assert {"threads", "memory", "disk of the cache", "disk of this folder", "default model"} <= set(checks)
    assert all(finding.detail for finding in findings)
    assert all(bool(finding.remedy) == (finding.status != "ok") for finding in findings)
