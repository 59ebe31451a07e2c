"""What a loss returns: its share of the global batch's loss, and metrics that add up exactly over any split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from trimtab.algorithms.masked import masked_sum

Metric = tuple[Tensor | float, Tensor | float]
"""(sum, count): the number reported is sum / count, after sums and counts were added up separately."""

Metrics = dict[str, Metric]


@dataclass(frozen=True, slots=True)
class LossOutput:
    """A loss to differentiate, and what to report about it (detached)."""

    loss: Tensor
    metrics: Mapping[str, Metric]


def share(total: Tensor, normalizer: float) -> Tensor:
    """This micro-batch's share of a mean over the global batch: `total / normalizer`.

    `normalizer` counts what the whole batch sums over (tokens, comparisons or prompts), so the shares of any split add
    up to one and the same loss. It is 0 only when there is nothing in the batch; the share is then 0 too. Raises
    `ValueError` when it is negative or NaN.
    """
    if not normalizer >= 0:
        raise ValueError(f"normalizer is {normalizer}; it must be the count of the global batch, at least 0")
    return total / (normalizer or 1.0)


def over_tokens(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The metric "mean of x over real tokens". Shapes: `x`, `mask` `[R, T]`."""
    return masked_sum(x.detach(), mask), mask.sum()


def merge(*parts: Mapping[str, Metric]) -> Metrics:
    """Add metrics up by name: sums to sums, counts to counts."""
    merged: Metrics = {}
    for part in parts:
        for name, (total, count) in part.items():
            before = merged.get(name, (0.0, 0.0))
            merged[name] = (before[0] + total, before[1] + count)
    return merged


def reduce(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Each metric as a number, sum / count. Nothing counted gives 0."""
    return {name: float(total) / float(count) if count else 0.0 for name, (total, count) in metrics.items()}
