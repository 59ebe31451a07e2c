"""What is renamed into place is whole and on the disk; a place that cannot be written to is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimtab.errors import UserError
from trimtab.pipeline.disk import locked, replace_text


def test_a_replaced_text_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.json"
    path.write_text("old")
    synced: list[tuple[str, str]] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        real(descriptor)
        synced.append((path.read_text(), path.with_name("progress.json.partial").read_text()))

    monkeypatch.setattr(os, "fsync", watch)
    replace_text(path, "new")
    assert synced == [("old", "new")]
    assert path.read_text() == "new"


@pytest.mark.parametrize("place", ["file", "file/store", "/proc/store"])
def test_a_place_that_cannot_hold_artifacts_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(UserError, match=r"cannot hold artifacts: \w.*--store"), locked(tmp_path / place):
        pass


def test_a_lock_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match="cannot hold artifacts: Is a directory"), locked(tmp_path):
        pass
