"""How well a model foresees passages of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from trimtab.data.passages import Passage
from trimtab.data.text_tokens import TextTokens
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow, row_batches

TOKENS_AT_ONCE = 2048


def passage_losses(
    policy: Policy,
    tokens: TextTokens,
    passages: Sequence[Passage],
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[float], list[int]]:
    """-log p(passage | what comes before it) in nats, and the number of tokens, of each passage."""
    rows = [
        TokenRow((tokens.start_id, *tokens.encode(one.before)), (tuple(tokens.encode(one.text)),)) for one in passages
    ]
    found: dict[int, float] = {}
    pad_id, device = policy.template.pad_id, policy.trunk.device
    with torch.no_grad():
        for group, batch in row_batches(rows, max_tokens=TOKENS_AT_ONCE, pad_id=pad_id, device=device):
            sums = policy.logprobs(batch).double().sum(-1)
            found |= dict(zip(group, (-sums).tolist(), strict=True))
            on_progress(len(found), len(rows))
    return [found[index] for index in range(len(rows))], [len(row.responses[0]) for row in rows]
