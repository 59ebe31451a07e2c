"""What feedback asks of a language model, here (`generation.local`) or behind a server (`generation.endpoint`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from trimtab.types import Completion, Prompt

Progress = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much."""


class Writer(Protocol):
    """A model that writes."""

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        group_size: int = 1,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        """`group_size` completions of each prompt, in the prompts' order."""


class LanguageModel(Writer, Protocol):
    """A model that writes and weighs options."""

    name: str

    def option_logprobs(
        self,
        questions: Sequence[Prompt],
        options: Sequence[str],
        *,
        lead: str = "",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Sequence[tuple[float, ...] | None]:
        """log p of each option (nats) after `lead`; None where the model gave no usable answer."""
