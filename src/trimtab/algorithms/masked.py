"""Sums, means and whitening over real tokens. Padding is never read: it may hold anything, NaN included.

An empty mask gives exactly 0, with a gradient of 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.algorithms.shapes import require_same_shape

_WHITEN_EPS = 1e-8


def masked_sum(x: Tensor, mask: Tensor, *, dim: int | None = None) -> Tensor:
    """Sum of x where mask is True, over everything or along `dim`. Shapes: `x`, `mask` equal; `mask` bool."""
    require_same_shape(x=x, mask=mask)
    return torch.where(mask, x, 0.0).sum(dim)


def masked_mean(x: Tensor, mask: Tensor, *, dim: int | None = None) -> Tensor:
    """Mean of x where mask is True, over everything or along `dim`; 0 where the mask is empty."""
    return masked_sum(x, mask, dim=dim) / mask.sum(dim).clamp(min=1)


def masked_variance(x: Tensor, mask: Tensor) -> Tensor:
    """Biased variance (divided by n, not n - 1) of x where mask is True: a scalar, 0 for an empty mask.

    Source: Huang et al. 2024, "The N+ implementation details of RLHF with PPO", whose reference code whitens with the
    biased variance.
    """
    real = torch.where(mask, x, 0.0)  # NaN in padding would otherwise reach the gradient through the square
    return masked_mean((real - masked_mean(real, mask)) ** 2, mask)


def whiten(x: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale x to variance 1 over the mask; padding becomes 0. Shapes: `x`, `mask` and result equal.

    With `shift_mean` the mean is removed (advantages). Without it the mean is put back after scaling (rewards, whose
    sign and offset mean something). A constant x becomes 0, or its mean. Source: Ziegler et al. 2019, in whose code the
    flag has the same meaning.
    """
    real = torch.where(mask, x, 0.0)
    mean = masked_mean(real, mask)
    whitened = (real - mean) * torch.rsqrt(masked_variance(real, mask) + _WHITEN_EPS)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0.0)
