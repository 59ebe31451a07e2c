"""Keeping other libraries' bars and warnings out of our output."""

from __future__ import annotations

import os
import warnings


def keep_libraries_quiet() -> None:
    """To be called before they are imported."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
