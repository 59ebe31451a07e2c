"""PPO on responses: per-token rewards, advantages, and the two clipped losses.

Response tensors are `[R, T]`; `mask` is True on real tokens, which come first. Padding is never read. Rewards,
advantages and returns are constants of the update: no gradient flows through them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.algorithms.kl import k3
from trimtab.algorithms.masked import masked_mean, masked_sum, masked_variance
from trimtab.algorithms.output import LossOutput, over_tokens, share
from trimtab.algorithms.shapes import require_same_shape

_LEAST_VARIANCE = 1e-12


@torch.no_grad()
def kl_shaped_rewards(
    scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, kl_coef: float
) -> Tensor:
    """-kl_coef (log p_policy - log p_reference) at every token, plus the score at the last real one.

    The penalty is the k1 estimate of KL(policy || reference), with a minus: drifting away costs. A response without
    tokens gets no reward.

    Shapes: `scores` `[R]`, the rest and the result `[R, T]`, 0 in padding. Source: Ziegler et al. 2019, equation 2;
    Ouyang et al. 2022, appendix C.4.
    """
    require_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask)
    if scores.shape != mask.shape[:1]:
        raise ValueError(f"scores {list(scores.shape)} must be one number for each of {len(mask)} responses")
    is_last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    penalties = torch.where(mask, -kl_coef * (logprobs - ref_logprobs), 0.0)
    return penalties + torch.where(is_last, scores[:, None], 0.0)


@torch.no_grad()
def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, both 0 in padding.

    d_t = r_t + gamma V_{t+1} - V_t; A_t = d_t + gamma lambda A_{t+1}; return_t = A_t + V_t. After the last real token
    value and advantage are 0: the response is over, also when its length limit ended it.

    Shapes: all `[R, T]`. Source: Schulman et al. 2016 (GAE), equation 16.
    """
    require_same_shape(rewards=rewards, values=values, mask=mask)
    advantages = torch.zeros_like(values)
    advantage = next_value = values.new_zeros(len(values))
    for t in reversed(range(values.shape[1])):
        real, value = mask[:, t], values[:, t]
        delta = rewards[:, t] + gamma * next_value - value
        advantage = torch.where(real, delta + gamma * gae_lambda * advantage, 0.0)
        next_value = torch.where(real, value, 0.0)
        advantages[:, t] = advantage
    return advantages, torch.where(mask, advantages + values, 0.0)


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_eps: float,
    weights: Tensor | None = None,
    normalizer: float,
) -> LossOutput:
    """Sum over tokens of w max(-A rho, -A clip(rho, 1 - eps, 1 + eps)), rho = p_policy / p_old; over the normalizer.

    At p_policy = p_old its gradient is the policy gradient, -A grad log p. Clipping takes the gradient away from tokens
    whose probability has already moved by eps in the direction their advantage asks for.

    Shapes: all `[R, T]`. `weights` w (default 1) are constants, for an aggregation or an importance correction.
    `normalizer`: the number of tokens of the global batch, or of responses where each of them weighs 1. Metrics:
    policy/loss (weighted mean), policy/ratio, policy/clip_fraction (tokens whose clipped term is the
    larger), policy/approx_kl (k3 estimate of KL(old || policy), nats). Source: Schulman et al. 2017, equation 7.
    """
    w = torch.ones_like(logprobs) if weights is None else weights
    require_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask, weights=w)
    logprobs, old_logprobs = torch.where(mask, logprobs, 0.0), torch.where(mask, old_logprobs, 0.0)
    ratio = (logprobs - old_logprobs).exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_eps, 1 + clip_eps)
    total = masked_sum(w * torch.maximum(plain, clipped), mask)
    metrics = {
        "policy/loss": (total.detach(), masked_sum(w, mask)),
        "policy/ratio": over_tokens(ratio, mask),
        "policy/clip_fraction": over_tokens((clipped > plain).to(ratio.dtype), mask),
        "policy/approx_kl": over_tokens(k3(old_logprobs, logprobs), mask),
    }
    return LossOutput(share(total, normalizer), metrics)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip_eps: float, normalizer: float
) -> LossOutput:
    """Sum over tokens of max((V - R)^2, (V_old + clip(V - V_old, -eps, eps) - R)^2) / 2; per token of the batch.

    Shapes: all `[R, T]`. Units: squared reward. Metrics: value/loss, value/clip_fraction. Source: the value loss of
    OpenAI's baselines, kept by Ziegler et al. 2019 (N-details, item 19).
    """
    require_same_shape(values=values, old_values=old_values, returns=returns, mask=mask)
    values, old_values, returns = (torch.where(mask, x, 0.0) for x in (values, old_values, returns))
    plain = (values - returns) ** 2
    clipped = (old_values + (values - old_values).clamp(-clip_eps, clip_eps) - returns) ** 2
    losses = 0.5 * torch.maximum(plain, clipped)
    metrics = {
        "value/loss": over_tokens(losses, mask),
        "value/clip_fraction": over_tokens((clipped > plain).to(values.dtype), mask),
    }
    return LossOutput(share(masked_sum(losses, mask), normalizer), metrics)


@torch.no_grad()
def affine_fit(values: Tensor, targets: Tensor, mask: Tensor) -> tuple[float, float]:
    """Gain and bias such that gain * values + bias is nearest to targets over real tokens, by least squares.

    Shapes: all `[R, T]`. With it, explained variance is never below 0. Values that do not vary have gain 0.
    """
    values, targets = torch.where(mask, values, 0.0), torch.where(mask, targets, 0.0)
    mean_value, mean_target = masked_mean(values, mask), masked_mean(targets, mask)
    covariance = masked_mean((values - mean_value) * (targets - mean_target), mask)
    variance = masked_variance(values, mask)
    gain = torch.where(variance > _LEAST_VARIANCE, covariance / variance.clamp(min=_LEAST_VARIANCE), 0.0)
    return gain.item(), (mean_target - gain * mean_value).item()


@torch.no_grad()
def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect value model, 0 no better than a constant, below worse.

    Shapes: all `[R, T]`; a scalar. It is 0 when the returns do not vary: there is nothing to explain.
    """
    total = masked_variance(returns, mask)
    explained = 1 - masked_variance(returns - values, mask) / total.clamp(min=_LEAST_VARIANCE)
    return torch.where(total > _LEAST_VARIANCE, explained, 0.0)
