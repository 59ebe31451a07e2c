"""Correcting for tokens that were drawn from a distribution slightly other than the one that is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.algorithms.masked import masked_mean
from trimtab.algorithms.shapes import require_same_shape


@torch.no_grad()
def truncated_importance_weights(logprobs: Tensor, sampler_logprobs: Tensor, mask: Tensor, *, cap: float) -> Tensor:
    """min(p_trainer / p_sampler, cap) of every real token, 0 in padding: constants that multiply a token's loss.

    A generator that computes the same weights in other kernels or number types draws from a distribution of its own.
    These weights make expectations over its draws expectations under the trainer's policy; the cap bounds their
    variance at the price of a bias.

    Shapes: all `[R, T]`, with log-probabilities at sampling time. Source: Ionides 2008, "Truncated importance
    sampling"; Yao et al. 2025 use it between generator and trainer.
    Errors: `ValueError` for a cap below 1, which would make even equal distributions differ.
    """
    require_same_shape(logprobs=logprobs, sampler_logprobs=sampler_logprobs, mask=mask)
    if not cap >= 1:
        raise ValueError(f"the cap on importance weights is {cap}; it must be at least 1")
    return torch.where(mask, (logprobs - sampler_logprobs).exp().clamp(max=cap), 0.0)


@torch.no_grad()
def logprob_gap(logprobs: Tensor, sampler_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference of the two log-probabilities over real tokens, nats: a scalar. Shapes: `[R, T]`."""
    require_same_shape(logprobs=logprobs, sampler_logprobs=sampler_logprobs, mask=mask)
    return masked_mean((logprobs - sampler_logprobs).abs(), mask)
