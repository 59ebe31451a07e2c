"""Ctrl-C: the first asks to stop at the next point where nothing is lost, the second stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = "Stopping as soon as the state is saved. Once more stops at once."


@contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within this block SIGINT and SIGTERM ask to stop; yields a function that says whether one did.

    A second one raises `KeyboardInterrupt`.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # From a thread of its own: the handler may have interrupted a print, which must not be entered again.
        threading.Thread(target=say, args=(STOPPING,)).start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
