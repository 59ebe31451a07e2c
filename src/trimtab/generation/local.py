"""A model on this machine as something that writes text and weighs options, whatever is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile

import torch

from trimtab.errors import ModelError
from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow, row_batches
from trimtab.types import Completion, Prompt

TOKENS_AT_ONCE = 2048


class LocalModel:
    """Writes completions, and tells how probable given continuations are. `name` is what logs and reports call it."""

    def __init__(self, policy: Policy, *, name: str) -> None:
        self.name = name
        self.policy = policy
        self._engine = Engine.of(policy)

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
        """`group_size` completions of each prompt, in the prompts' order. Temperature 0 is greedy.

        Raises `ModelError` for a prompt that leaves no room for `max_new_tokens`.
        """
        for ids in self.policy.template.encode_prompts(prompts):
            self._check_length(len(ids) + max_new_tokens)
        return complete(
            self._engine,
            self.policy.template,
            prompts,
            group_size=group_size,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            on_progress=on_progress,
        )

    def option_logprobs(
        self,
        questions: Sequence[Prompt],
        options: Sequence[str],
        *,
        lead: str = "",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[tuple[float, ...]]:
        """log p of each option (nats) as what comes after `lead` in the answer to each question.

        The tokens that all options begin with count for none. Raises `ValueError` when one option begins another, and
        `ModelError` for a question that is too long for the model.
        """
        rows = [self._row(question, [lead + option for option in options]) for question in questions]
        for row in rows:
            self._check_length(len(row.prompt_ids) + max(map(len, row.responses)))
        found: dict[int, tuple[float, ...]] = {}
        pad_id, device = self.policy.template.pad_id, self.policy.trunk.device
        with torch.no_grad():
            for group, batch in row_batches(rows, max_tokens=TOKENS_AT_ONCE, pad_id=pad_id, device=device):
                sums = self.policy.logprobs(batch).sum(-1).view(len(group), len(options))
                found |= {i: tuple(line) for i, line in zip(group, sums.tolist(), strict=True)}
                if on_progress is not None:
                    on_progress(len(found), len(rows))
        return [found[i] for i in range(len(rows))]

    def _check_length(self, tokens: int) -> None:
        """Refuse what would be at positions that the model never learnt."""
        longest: int | None = getattr(self.policy.trunk.config, "max_position_embeddings", None)
        if longest is not None and tokens > longest:
            raise ModelError(
                f"a request to {self.name} has {tokens:,} tokens with its answer, and the model reads at most "
                f"{longest:,}. Take a model that reads further, or shorten what it is given: the texts, the "
                "instructions, or how much is to be written (max_new_tokens, thinking)"
            )

    def _row(self, question: Prompt, answers: Sequence[str]) -> TokenRow:
        template = self.policy.template
        encoded = [tuple(template.unfinished_ids(answer)) for answer in answers]
        shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*encoded, strict=False)))
        rest = tuple(ids[shared:] for ids in encoded)
        if not all(rest):
            raise ValueError(f"one of the options {list(answers)} begins another, so it cannot be told when it ends")
        return TokenRow((*template.prompt_ids(question), *encoded[0][:shared]), rest)
