"""A policy: a causal language model as a distribution over responses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trimtab.algorithms.logprobs import entropy, token_logprobs
from trimtab.data.chat import ChatTemplate
from trimtab.models.rows import RowBatch
from trimtab.models.trunk import Trunk

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Vocabulary logits are the largest tensor there is. Past this many tokens at once they are recomputed in the backward
# pass, chunk by chunk, so that memory is bounded by the chunk.
TOKENS_PER_HEAD_CHUNK = 4096

Head = tuple[Tensor, Tensor | None]
"""Weight `[V, D]` and bias `[V]` of an LM head."""


@dataclass
class Policy:
    """A trunk with its LM head, its tokenizer and chat template, and the adapter that makes it this policy."""

    trunk: Trunk
    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    adapter: str | None = None

    @property
    def model(self) -> PreTrainedModel:
        """The transformers model (PEFT-wrapped when it has an adapter)."""
        return self.trunk.model

    def logprobs(self, batch: RowBatch, *, temperature: float = 1.0, train: bool = False) -> Tensor:
        """log p(token | prompt, tokens before it) of every response token, `[R, T]` float32 nats, 0 where masked."""
        with self.trunk.using(self.adapter, train=train):
            return response_logprobs(self.trunk.hidden(batch), batch, self.trunk, temperature=temperature)

    def logprobs_and_entropy(self, batch: RowBatch, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probabilities as `logprobs`, and the entropy of the distribution each token was drawn from, `[R, T]`."""
        with torch.no_grad(), self.trunk.using(self.adapter):
            hidden = self.trunk.hidden(batch)
            logprobs = response_logprobs(hidden, batch, self.trunk, temperature=temperature)
            entropies = torch.cat(
                [entropy(chunk, temperature=temperature) for chunk in _logit_chunks(hidden, batch, self.trunk)]
            )
        return logprobs, _scatter(entropies, batch.mask)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """What learning changes: the adapter's parameters, or all of the model's."""
        if self.adapter is not None:
            return self.trunk.adapter_parameters(self.adapter)
        return dict(self.trunk.causal_lm.named_parameters())

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder, or a PEFT folder when the policy is an adapter.

        The template travels with the weights, and the generation config stops where the template ends a turn.
        """
        if self.adapter is not None:
            self.trunk.save_adapter(self.adapter, folder)
        else:
            model = self.trunk.causal_lm
            model.generation_config.eos_token_id = sorted(self.template.stop_ids)
            model.generation_config.pad_token_id = self.template.pad_id
            model.save_pretrained(folder)
        if self.template.is_plain:
            self.tokenizer.chat_template = self.template.plain_form()
        self.tokenizer.save_pretrained(folder)


def response_logprobs(
    hidden: Tensor, batch: RowBatch, trunk: Trunk, *, temperature: float = 1.0, head: Head | None = None
) -> Tensor:
    """Log-probabilities of response tokens from hidden states `[B * L, D]`: `[R, T]`, float32, 0 where masked.

    The LM head is applied to the states that predict response tokens and to no others. `head` stands in for the
    model's own.
    """
    targets = batch.targets[batch.mask]
    states = hidden[batch.predicted_from[batch.mask]]

    def chunk_logprobs(chunk: Tensor, chunk_targets: Tensor) -> Tensor:
        return token_logprobs(head_logits(chunk, trunk, head), chunk_targets, temperature=temperature)

    chunks = []
    pieces = zip(states.split(TOKENS_PER_HEAD_CHUNK), targets.split(TOKENS_PER_HEAD_CHUNK), strict=True)
    for chunk, chunk_targets in pieces:
        if torch.is_grad_enabled() and len(states) > TOKENS_PER_HEAD_CHUNK:
            chunks.append(checkpoint(chunk_logprobs, chunk, chunk_targets, use_reentrant=False))
        else:
            chunks.append(chunk_logprobs(chunk, chunk_targets))
    return _scatter(torch.cat(chunks), batch.mask)


def head_logits(states: Tensor, trunk: Trunk, head: Head | None = None) -> Tensor:
    """Vocabulary logits of hidden states `[..., D]`, with the scaling some families apply after the head."""
    config, own = trunk.config, trunk.causal_lm.get_output_embeddings()
    weight, bias = (own.weight, own.bias) if head is None else head
    with trunk.autocast():
        logits = nn.functional.linear(states, weight, bias)
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


def _logit_chunks(hidden: Tensor, batch: RowBatch, trunk: Trunk) -> list[Tensor]:
    states = hidden[batch.predicted_from[batch.mask]]
    return [head_logits(chunk, trunk) for chunk in states.split(TOKENS_PER_HEAD_CHUNK)]


def _scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Values of real tokens, in order, back to `[R, T]` with zeros elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
