"""A world small enough to learn in seconds: a tiny tokenizer, a tiny policy, and a run that keeps its log in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from tests.data.tiny_tokenizers import tiny as tiny_tokenizer
from tests.models.tiny import tiny_model

from trimtab.data.chat import ChatTemplate
from trimtab.models.policy import Policy
from trimtab.models.trunk import Trunk
from trimtab.types import Message, Prompt


class MemoryRun:
    """A run for tests. It asks to stop after `stop_after` steps have been logged."""

    def __init__(self, folder: Path, stop_after: int | None = None) -> None:
        self.state = folder
        self.stop_after = stop_after
        self.logged: list[dict[str, float]] = []
        self.warnings: list[str] = []

    def log(self, metrics: Mapping[str, float]) -> None:
        self.logged.append(dict(metrics))

    def rewind_log(self, step: int) -> None:
        self.logged = [line for line in self.logged if line["step"] <= step]

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        pass

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def stop_requested(self) -> bool:
        return self.stop_after is not None and len(self.logged) >= self.stop_after


def tiny_policy(seed: int = 0, adapter: bool = False, style: str = "chatml", longest: int = 256) -> Policy:
    """A 2-layer random Llama with the vocabulary and the chat template of one style. It reads `longest` tokens."""
    tokenizer = tiny_tokenizer(style)
    template = ChatTemplate(tokenizer)
    model = tiny_model(
        "llama",
        seed,
        vocab_size=len(tokenizer),
        num_hidden_layers=2,
        max_position_embeddings=longest,
        eos_token_id=template.end_of_turn_id,
        pad_token_id=template.pad_id,
    )
    policy = Policy(Trunk(model), tokenizer, template)
    if adapter:
        torch.manual_seed(seed)
        policy.trunk.add_adapter("policy", rank=8, alpha=16, dropout=0.0, targets="all-linear")
        policy.adapter = "policy"
    return policy


def prompts(count: int) -> list[Prompt]:
    """Distinct one-message prompts."""
    return [Prompt((Message("user", f"question {number}"),)) for number in range(count)]
