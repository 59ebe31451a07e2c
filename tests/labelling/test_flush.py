"""A label is told to be there when it is on the disk, and many labels share one wait for the disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from tests.labelling.world import pair, project

from trimtab.labelling import flush
from trimtab.labelling.flush import Flush


def test_a_transaction_is_flushed_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each flush the log holds the transaction already; one that fails needs none."""
    seen: list[int] = []
    store = project(tmp_path, [])
    monkeypatch.setattr(store._flush, "_to_disk", lambda: seen.append(store.counts()["items"]))
    store.add_items([pair(1)])
    store.add_items([pair(2), pair(3)])
    with pytest.raises(ZeroDivisionError), store.write():
        raise ZeroDivisionError
    assert seen == [1, 3]


def test_the_log_itself_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = project(tmp_path, [])
    files: list[str] = []
    to_disk = flush._flush

    def noting(descriptor: int) -> None:
        files.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        to_disk(descriptor)

    monkeypatch.setattr(flush, "_flush", noting)
    if not Path("/proc/self/fd").exists():
        pytest.skip("file names of descriptors are in /proc")
    store.add_items([pair(1)])
    assert files == ["labels.db-wal"]


def test_those_who_wait_share_the_next_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a first flush goes on eight more ask. It may be too early for what they wrote; one more serves them all."""
    shared = Flush(tmp_path / "log")
    flushes: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        flushes.append(shared._asked)
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr(shared, "_to_disk", slow)
    first = threading.Thread(target=shared)
    first.start()
    assert begun.wait(30)
    others = [threading.Thread(target=shared) for _ in range(8)]
    for other in others:
        other.start()
    while shared._asked < 9:
        pass
    assert all(other.is_alive() for other in others)
    go_on.set()
    for thread in (first, *others):
        thread.join()
    assert flushes == [1, 9]


def test_a_flush_that_fails_is_told_to_everyone_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Flush(tmp_path / "log")
    results: list[Any] = [OSError("disk"), None]

    def failing() -> None:
        result = results.pop(0)
        if result is not None:
            raise result

    monkeypatch.setattr(shared, "_to_disk", failing)
    with pytest.raises(OSError, match="disk"):
        shared()
    shared()
    assert results == []
