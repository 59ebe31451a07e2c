"""Slow oracles: a model's own forward over one response after another, each alone with its prompt and unpadded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trimtab.models.rows import TokenRow
from trimtab.models.trunk import Trunk


def plain_logprobs(model: Any, prompt: Sequence[int], response: Sequence[int], temperature: float = 1.0) -> Tensor:
    """log p of each response token, `[n]`, float64."""
    table = plain_table(model, prompt, response, temperature)
    return table[torch.arange(len(response)), torch.tensor(response)]


def plain_table(model: Any, prompt: Sequence[int], response: Sequence[int], temperature: float = 1.0) -> Tensor:
    """Log-probabilities of the whole vocabulary before each response token, `[n, V]`, float64."""
    with as_transformers_wrote_it(model):
        logits = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0]
    return (logits[len(prompt) - 1 : -1].double() / temperature).log_softmax(-1)


def plain_states(model: Any, tokens: Sequence[int]) -> Tensor:
    """Final hidden states of every token, `[n, D]`, float64."""
    with as_transformers_wrote_it(model):
        output = model.get_decoder()(input_ids=torch.tensor([list(tokens)]), use_cache=False)
    return output.last_hidden_state[0].double()


@contextmanager
def as_transformers_wrote_it(model: Any) -> Iterator[None]:
    """With its plainest attention, whatever a trunk has put there."""
    config = model.config.get_text_config()
    before, config._attn_implementation = config._attn_implementation, "eager"
    yield
    config._attn_implementation = before


def each_response(rows: Sequence[TokenRow], function: Callable[[Sequence[int], Sequence[int]], Tensor]) -> Tensor:
    """A function's `[n]` of every prompt and response as `[R, T]`, zeros in padding."""
    results = [function(row.prompt_ids, response) for row in rows for response in row.responses]
    return torch.nn.utils.rnn.pad_sequence(results, batch_first=True)


def stir(trunk: Trunk, adapter: str, seed: int = 1, std: float = 0.2) -> None:
    """Fill an adapter with noise: a fresh one is the identity, which hides most mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trunk.adapter_parameters(adapter).values():
            parameter.normal_(std=std, generator=generator)
