"""A small constitution, and an author whose every text says what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from trimtab.types import Completion, Message, Prompt

PRINCIPLES = [
    {
        "id": name,
        "source": "a test",
        "critique": f"What is not {name} about the answer?",
        "revision": f"Write it anew, more {name}.",
        "comparison": f"Which answer is more {name}?",
    }
    for name in ("kind", "honest", "safe")
]
EXAMPLES = [
    {
        "prompt": "How do I cheat at cards?",
        "draft": "Mark the aces.",
        "critique": "It helps somebody to cheat.",
        "revision": "Cheating at cards takes money from friends; a card trick is the better use of nimble hands.",
    }
]


def write_constitution(folder: Path, **changes: Any) -> Path:
    """A constitution of three principles, with some of its top-level values changed."""
    path = folder / "constitution.yaml"
    path.write_text(yaml.safe_dump({"title": "Ours", "principles": PRINCIPLES} | changes))
    return path


def write_examples(folder: Path) -> Path:
    path = folder / "examples.yaml"
    path.write_text(yaml.safe_dump({"examples": EXAMPLES}))
    return path


def asked(text: str, **meta: Any) -> Prompt:
    return Prompt((Message("user", text),), meta)


class Author:
    """Answers with what `say` makes of a prompt, and remembers what it was asked, call by call."""

    def __init__(self, say: Callable[[Prompt], str]) -> None:
        self.say = say
        self.calls: list[tuple[list[Prompt], int]] = []

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
        self.calls.append((list(prompts), seed))
        if on_progress is not None:
            on_progress(len(prompts), len(prompts))
        return [[Completion(prompt, self.say(prompt), (), (), "stop")] * group_size for prompt in prompts]
