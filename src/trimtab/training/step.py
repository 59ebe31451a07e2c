"""One optimiser step: micro-batches by token budget, gradients, checks, update."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trimtab.algorithms.output import LossOutput, Metrics, merge
from trimtab.errors import NumericsError
from trimtab.models.rows import TokenRow, micro_batches

MicroBatchLoss = Callable[[list[int]], LossOutput]
"""Row indices of a micro-batch -> its share of the global loss (already divided by the global normaliser)."""


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW and its schedule. `adam_eps` 1e-5 keeps PyTorch's first steps small (N-details, item 21)."""

    learning_rate: float
    warmup_ratio: float = 0.1
    schedule: str = "cosine"
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    adam_eps: float = 1e-5
    adam_betas: tuple[float, float] = (0.9, 0.95)
    micro_batch_tokens: int = 1024


def make_optimizer(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over the given parameters; their learning rate is set anew before each step."""
    return torch.optim.AdamW(
        list(parameters),
        lr=settings.learning_rate,
        betas=settings.adam_betas,
        eps=settings.adam_eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate(step: int, total: int, settings: OptimizerSettings) -> float:
    """The rate of step `step` (from 0): linear warm-up, then constant, linear or cosine decay to 0."""
    warmup = round(settings.warmup_ratio * total)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    return settings.learning_rate


def accumulate(
    rows: Sequence[TokenRow], loss_of: MicroBatchLoss, *, max_tokens: int, where: str, dump: Path
) -> Metrics:
    """Add up the gradients of a batch over its micro-batches and merge their metrics.

    Raises `NumericsError` at the first loss that is not finite, with the rows written to `dump`.
    """
    merged: Metrics = {}
    for indices in micro_batches(rows, max_tokens=max_tokens):
        output = loss_of(indices)
        if not torch.isfinite(output.loss):
            raise bad_rows(rows, indices, f"the loss is {output.loss.item()}", where, dump)
        output.loss.backward()
        merged = merge(merged, output.metrics)
    return merged


def update(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    *,
    rate: float,
    max_grad_norm: float,
    where: str,
) -> float:
    """Clip, check and apply the gradients; clear them; return their norm before clipping.

    Raises `NumericsError` naming the parameters whose gradient is not finite; the weights are then unchanged.
    """
    total = torch.nn.utils.get_total_norm([p.grad for p in parameters.values() if p.grad is not None])
    norm = total.item()
    if not math.isfinite(norm):
        bad = [n for n, p in parameters.items() if p.grad is not None and not torch.isfinite(p.grad).all()]
        raise NumericsError(
            f"{where}: the gradient norm is {norm}; {len(bad)} parameters are concerned, first {bad[:1]}. "
            "A lower learning_rate or max_grad_norm, or precision fp32, usually mends this"
        )
    if norm > max_grad_norm:
        torch.nn.utils.clip_grads_with_norm_(list(parameters.values()), max_grad_norm, total)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def bad_rows(rows: Sequence[TokenRow], indices: list[int], what: str, where: str, dump: Path) -> NumericsError:
    """The error to raise for rows with a number that is not finite. The rows are written to `dump`."""
    dump.parent.mkdir(parents=True, exist_ok=True)
    dump.write_text(
        json.dumps([{"index": i, "prompt_ids": rows[i].prompt_ids, "responses": rows[i].responses} for i in indices])
    )
    return NumericsError(
        f"{where}: {what} on rows {indices} of the batch. They are written to {dump}. "
        "Look at them; a lower learning_rate or precision fp32 may mend it"
    )
