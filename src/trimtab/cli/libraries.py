"""How other libraries are to behave in our process. To be said before they are imported."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def settle_libraries() -> None:
    """No bars and warnings of theirs in our output, and threads that do not spin for long while they wait.

    OpenMP's threads spin for milliseconds by default, which makes a run several times slower when anything else wants a
    core; not to spin at all makes generation a third slower on an idle machine. `docs/log.md` has the measurements.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let glibc use freed memory again instead of giving it back to the system.

    Large tensors come and go in every step. Memory fresh from the system is cleared page by page when it is first
    touched: on a virtual machine that takes seven times as long as writing to memory that is already there.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        set_option(M_MMAP_MAX, 0)
        set_option(M_TRIM_THRESHOLD, 2**31 - 1)
