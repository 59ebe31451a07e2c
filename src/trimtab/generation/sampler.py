"""From logits to tokens: temperature, top-k, top-p, and a draw that one uniform number decides.

The same number always picks the same token from the same distribution, whatever else is in the batch. That is what
makes a sequence independent of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 128
LIKELIEST = 1024


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose a token. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 leave the distribution whole."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; it must be 0 (off) or more")


def choose(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Choose one token a row.

    Shapes: `logits` `[n, V]`, `uniforms` `[n]` in [0, 1); returns tokens `[n]` and their log-probabilities `[n]`, in
    nats, float32, under the distribution they were drawn from. Greedy choices report the model's own distribution
    (temperature 1), since under a point mass every log-probability is 0.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k:
        logits = keep_top_k(logits, sampling.top_k)
    probabilities = logits.softmax(-1)
    if sampling.top_p < 1:
        probabilities = keep_top_p(probabilities, sampling.top_p)
    tokens = invert_cdf(probabilities, uniforms)
    return tokens, probabilities.gather(1, tokens[:, None])[:, 0].log()


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits `[n, V]` with all but the k largest at -inf. Tokens that tie with the k-th stay too."""
    if k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def keep_top_p(probabilities: Tensor, p: float) -> Tensor:
    """The fewest likeliest tokens that together reach p, renormalised; `[n, V]`. Ties with the last one stay too.

    Source: nucleus sampling, Holtzman et al. 2020, section 3.1.
    """
    size = probabilities.shape[-1]
    ordered = probabilities.topk(min(LIKELIEST, size), dim=-1).values
    if ordered.shape[-1] < size and bool((ordered.sum(-1) < p).any()):
        ordered = probabilities.sort(dim=-1, descending=True).values
    reached = ordered.cumsum(-1) - ordered < p
    smallest = ordered.gather(1, reached.sum(-1, keepdim=True) - 1)
    kept = probabilities.masked_fill(probabilities < smallest, 0.0)
    return kept / kept.sum(-1, keepdim=True)


def invert_cdf(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the running sum of probabilities passes u; `[n, V]` and `[n]` to `[n]`.

    Two levels, so that most of the vocabulary is summed once and never scanned: first the block, then the token in it.
    The target stays below the total at both levels, and the first running sum above it ends on a token that added
    something: a token of probability 0 cannot come out, however close to 1 the uniform number is.
    """
    n, size = probabilities.shape
    if spare := -size % BLOCK:
        probabilities = functional.pad(probabilities, (0, spare))
    blocks = probabilities.view(n, -1, BLOCK)
    running = blocks.sum(-1).cumsum(-1)
    target = _below(uniforms[:, None] * running[:, -1:], running[:, -1:])
    block = torch.searchsorted(running, target, right=True).clamp_(max=running.shape[1] - 1)  # NaNs are past all
    before = functional.pad(running, (1, 0)).gather(1, block)
    inside = blocks[torch.arange(n, device=block.device), block[:, 0]].cumsum(-1)
    token = torch.searchsorted(inside, _below(target - before, inside[:, -1:]), right=True)
    return (block * BLOCK + token)[:, 0].clamp_(max=size - 1)


def _below(target: Tensor, total: Tensor) -> Tensor:
    return torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))
