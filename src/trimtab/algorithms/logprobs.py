"""Log-probabilities and entropy of vocabulary logits, the largest tensors there are.

All work through a few rows at a time, so besides the logits themselves (and, going back, their gradient) nothing of
that size exists; on a CPU the rows at hand stay in the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CPU_ELEMENTS = 2**20
_ACCELERATOR_ELEMENTS = 2**26


def token_logprobs(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log softmax(logits / temperature) at the target tokens.

    Dividing by the sampling temperature makes these the log-probabilities the tokens were drawn with (N-details, item
    10). For the backward pass only the logits and one number a token are kept.

    Shapes: `logits` `[..., V]`, any float type; `targets` `[...]`, integer; result `[...]`.
    Units: nats, float32 (float64 for float64 logits), whatever the precision of the logits.
    Errors: `ValueError` for shapes that do not fit or a temperature that is not positive.
    """
    _check(logits, targets, temperature)
    flat, _ = _TokenLogprobs.apply(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), temperature, False)
    return flat.view(targets.shape)


def token_logprobs_and_entropy(logits: Tensor, targets: Tensor, *, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """`token_logprobs`, and the entropy of each distribution for little more; entropies carry no gradient.

    Shapes, units and errors as in `token_logprobs`; both results are `[...]`.
    """
    _check(logits, targets, temperature)
    flat, entropies = _TokenLogprobs.apply(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), temperature, True)
    return flat.view(targets.shape), entropies.view(targets.shape)


def entropy(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Entropy of softmax(logits / temperature), 0 log 0 = 0. Shapes: `[..., V]` -> `[...]`. Units: nats, float32."""
    _check_temperature(temperature)
    rows = logits.reshape(-1, logits.shape[-1])
    parts = [_row_entropy(_scaled(chunk, temperature)) for chunk in rows.split(_rows_at_once(rows))]
    return torch.cat(parts).view(logits.shape[:-1])


class _TokenLogprobs(torch.autograd.Function):
    """d log p(y) / d logits = (onehot(y) - p) / temperature, with p recomputed from the logits and their logsumexp."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        logprobs = torch.empty(targets.shape, dtype=_working_dtype(logits), device=logits.device)
        normalizers = torch.empty_like(logprobs)
        entropies = torch.empty_like(logprobs) if with_entropy else None
        for rows in _row_slices(logits):
            scaled = _scaled(logits[rows], temperature)
            largest = scaled.amax(-1, keepdim=True)
            below = scaled - largest
            chosen = below.gather(-1, targets[rows, None]).squeeze(-1)
            weights = below.exp()
            total = weights.sum(-1)
            logprobs[rows] = chosen - total.log()
            normalizers[rows] = largest.squeeze(-1) + total.log()
            if entropies is not None:  # 0 log 0 = 0: a weight of 0 must not meet a logit of -inf
                below.clamp_(min=torch.finfo(below.dtype).min)
                entropies[rows] = total.log() - torch.linalg.vecdot(weights, below) / total
        ctx.save_for_backward(logits, targets, normalizers)
        ctx.temperature = temperature
        if entropies is not None:
            ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
        logits, targets, normalizers = ctx.saved_tensors
        grad_logits = torch.empty_like(logits)
        for rows in _row_slices(logits):
            weight = (grad[rows] / ctx.temperature)[:, None]
            probabilities = (_scaled(logits[rows], ctx.temperature) - normalizers[rows, None]).exp_()
            grad_logits[rows] = probabilities.mul_(-weight).scatter_add_(-1, targets[rows, None], weight)
        return grad_logits, None, None, None


def _row_entropy(scaled: Tensor) -> Tensor:
    logprobs = scaled.log_softmax(-1)
    probabilities = logprobs.exp()
    return -(probabilities * logprobs.masked_fill(probabilities == 0, 0.0)).sum(-1)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    logits = logits.to(_working_dtype(logits))
    return logits if temperature == 1.0 else logits / temperature


def _working_dtype(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)


def _rows_at_once(rows: Tensor) -> int:
    elements = _CPU_ELEMENTS if rows.device.type == "cpu" else _ACCELERATOR_ELEMENTS
    return max(elements // max(rows.shape[-1], 1), 1)


def _row_slices(rows: Tensor) -> list[slice]:
    step = _rows_at_once(rows)
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def _check(logits: Tensor, targets: Tensor, temperature: float) -> None:
    _check_temperature(temperature)
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"logits {list(logits.shape)} need targets {list(logits.shape[:-1])}, not {list(targets.shape)}"
        )


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; log-probabilities need a positive one")
