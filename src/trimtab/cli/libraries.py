"""How other libraries are to behave in our process. To be said before they are imported."""

from __future__ import annotations

import os
import warnings


def settle_libraries() -> None:
    """No bars and warnings of theirs in our output, and threads that wait without spinning.

    Spinning threads (OpenMP's default) gain about 3 % on an idle machine, and make a run several times slower when
    anything else wants a core.
    """
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
