"""A model behind an OpenAI-compatible server, with the two methods of `LocalModel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trimtab.types import Completion, Prompt


class Endpoint:
    """Writes completions, and tells how probable given options are. `name` is what logs and reports call it."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        log: Path,
        api_key_env: str | None = "OPENAI_API_KEY",
        timeout: float = 120.0,
        retries: int = 5,
        concurrency: int = 4,
        price_input: float | None = None,
        price_output: float | None = None,
        max_spend: float | None = None,
        max_calls: int | None = None,
        hard_answers: bool = False,
    ) -> None:
        self.name = model

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
        """`group_size` completions of each prompt, in the prompts' order. Temperature 0 is greedy."""
        raise NotImplementedError

    def option_logprobs(
        self,
        questions: Sequence[Prompt],
        options: Sequence[str],
        *,
        lead: str = "",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[tuple[float, ...] | None]:
        """log p of each option (nats) as the answer to each question; None where the server offered not all of them."""
        raise NotImplementedError
