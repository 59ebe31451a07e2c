"""A policy: a causal language model as a distribution over responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trimtab.algorithms.logprobs import token_logprobs, token_logprobs_and_entropy
from trimtab.data.chat import ChatTemplate
from trimtab.models.rows import RowBatch
from trimtab.models.trunk import Trunk

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Vocabulary logits are the largest tensor there is: in bfloat16 98 kB a token for 49,152 words, 524 kB for 262,144.
# Past this many numbers at once they are recomputed in the backward pass, chunk by chunk, so that memory is bounded by
# the chunk.
LOGITS_AT_ONCE = 2**26

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
        """Log-probabilities as `logprobs`, and the entropy of the distribution each token was drawn from, `[R, T]`.

        Entropies carry no gradient.
        """
        with self.trunk.using(self.adapter):
            hidden = self.trunk.hidden(batch)
            return response_logprobs_and_entropy(hidden, batch, self.trunk, temperature=temperature)

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

    def read(states: Tensor, targets: Tensor) -> tuple[Tensor]:
        return (token_logprobs(head_logits(states, trunk, head), targets, temperature=temperature),)

    (logprobs,) = _by_chunks(read, hidden, batch, trunk)
    return logprobs


def response_logprobs_and_entropy(
    hidden: Tensor, batch: RowBatch, trunk: Trunk, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The same, and the entropy of each distribution, `[R, T]`, from one look at the logits."""

    def read(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return token_logprobs_and_entropy(head_logits(states, trunk), targets, temperature=temperature)

    logprobs, entropies = _by_chunks(read, hidden, batch, trunk)
    return logprobs, entropies


def _by_chunks(
    read: Callable[[Tensor, Tensor], tuple[Tensor, ...]], hidden: Tensor, batch: RowBatch, trunk: Trunk
) -> list[Tensor]:
    """Apply `read` to the states and targets of response tokens, as many at once as memory is meant for."""
    targets = batch.targets[batch.mask]
    states = hidden[batch.predicted_from[batch.mask]]
    vocabulary = len(trunk.causal_lm.get_output_embeddings().weight)
    size = max(LOGITS_AT_ONCE // vocabulary, 1)
    recompute = torch.is_grad_enabled() and len(states) > size
    chunks = [
        checkpoint(read, *chunk, use_reentrant=False) if recompute else read(*chunk)
        for chunk in zip(states.split(size), targets.split(size), strict=True)
    ]
    return [_scatter(torch.cat(parts), batch.mask) for parts in zip(*chunks, strict=True)]


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


def _scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Values of real tokens, in order, back to `[R, T]` with zeros elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
