"""How other libraries are to behave in our process. To be said before they are imported."""

from __future__ import annotations

import os
import warnings


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
