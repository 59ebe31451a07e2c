"""Care with the disk: what is renamed into place is whole and synced, one run at a time writes, a full disk is told."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trimtab.errors import UserError
from trimtab.files import sync

LOCK = ".lock"


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below, and the folder itself, are on the disk."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def replace_text(path: Path, text: str) -> None:
    """Write a small file such that a reader sees the old text or the new, never a part, whenever power fails."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    partial.replace(path)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, says that no space is left. Some libraries say so in words only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only run that writes in a folder. The lock goes with the process, however it ends.

    Raises `UserError` naming the process that holds it, or saying why one cannot write there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder} cannot hold artifacts: {error.strerror}. Name a folder one may write in with --store"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"another run (process {holder}) is at work in {folder}. Wait until it is done, stop it, "
                "or give this run a folder of its own with --store"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_locked(folder: Path) -> bool:
    """Whether a run is at work in a folder right now."""
    try:
        with (folder / LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
