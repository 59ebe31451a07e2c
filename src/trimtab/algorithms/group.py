"""Responses to one prompt as each other's yardstick: advantages without a value model.

`scores` `[R]` are raw scores; `groups` `[R]` holds any integer that responses to one prompt share. Groups may differ in
size and need not be contiguous. Advantages are `[R]`, one for all tokens of a response, and carry no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from trimtab.algorithms.shapes import require_same_shape

Advantages = Literal["scaled", "centred", "leave_one_out"]
"""How a score is compared with its group's: see `ADVANTAGES`."""

_STD_EPS = 1e-4


@torch.no_grad()
def group_relative_advantages(scores: Tensor, groups: Tensor, *, scale: bool = True) -> Tensor:
    """(score - mean of its group) / (std of its group + 1e-4); without `scale`, the numerator alone.

    The std divides by k - 1. A group of one, or of equal scores, has advantages 0. Source: Shao et al. 2024,
    "DeepSeekMath", section 4.1.2 (scaled); Liu et al. 2025, "Understanding R1-Zero-like training" (not scaled).
    """
    index, counts = group_index(scores, groups)
    centred = scores - (_group_sum(scores, index, counts) / counts)[index]
    if not scale:
        return centred
    variance = _group_sum(centred**2, index, counts) / (counts - 1).clamp(min=1)
    return centred / (variance.sqrt()[index] + _STD_EPS)


@torch.no_grad()
def leave_one_out_advantages(scores: Tensor, groups: Tensor) -> Tensor:
    """Score minus the mean score of the group's other responses. Source: Kool et al. 2019; Ahmadian et al. 2024
    (RLOO).

    Errors: `ValueError` when a group has one response, which has no others to compare with.
    """
    index, counts = group_index(scores, groups)
    if (counts < 2).any():
        raise ValueError("leave-one-out needs at least two responses in every group; raise group_size")
    others = _group_sum(scores, index, counts)[index] - scores
    return scores - others / (counts[index] - 1)


@torch.no_grad()
def zero_variance_fraction(scores: Tensor, groups: Tensor, *, tolerance: float = 1e-6) -> Tensor:
    """Share of groups whose scores lie within `tolerance` of each other: they teach nothing. A scalar."""
    index, counts = group_index(scores, groups)
    highest = scores.new_full(counts.shape, -torch.inf).scatter_reduce(0, index, scores, "amax")
    lowest = scores.new_full(counts.shape, torch.inf).scatter_reduce(0, index, scores, "amin")
    return (highest - lowest <= tolerance).to(scores.dtype).sum() / max(len(counts), 1)


def group_index(scores: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Groups renumbered 0..G-1: the group of every response `[R]`, and the size of every group `[G]`."""
    require_same_shape(scores=scores, groups=groups)
    _, index, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    return index, counts


def _group_sum(x: Tensor, index: Tensor, counts: Tensor) -> Tensor:
    return x.new_zeros(counts.shape).index_add(0, index, x)


ADVANTAGES: Mapping[Advantages, Callable[[Tensor, Tensor], Tensor]] = {
    "scaled": group_relative_advantages,
    "centred": partial(group_relative_advantages, scale=False),
    "leave_one_out": leave_one_out_advantages,
}
"""Advantages of `scores`, `groups` by the name that settings give them."""
