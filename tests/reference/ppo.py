"""PPO for one response at a time: lists hold its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence


def kl_shaped_rewards(
    score: float, logprobs: Sequence[float], ref_logprobs: Sequence[float], kl_coef: float
) -> list[float]:
    """R_t = -kl_coef (log p - log p_ref)(y_t) + [t is the last] score."""
    rewards = []
    for t in range(len(logprobs)):
        reward = -kl_coef * (logprobs[t] - ref_logprobs[t])
        if t == len(logprobs) - 1:
            reward += score
        rewards.append(reward)
    return rewards


def td_errors(rewards: Sequence[float], values: Sequence[float], gamma: float) -> list[float]:
    """r_t + gamma V_{t+1} - V_t, where the value after the last token is 0."""
    following = [*values[1:], 0.0]
    return [rewards[t] + gamma * following[t] - values[t] for t in range(len(values))]


def advantages(rewards: Sequence[float], values: Sequence[float], gamma: float, gae_lambda: float) -> list[float]:
    """The sum of Schulman et al. 2016, equation 16, taken literally: A_t = sum over l of (gamma lambda)^l d_{t+l}."""
    errors = td_errors(rewards, values, gamma)
    return [
        sum((gamma * gae_lambda) ** lag * errors[t + lag] for lag in range(len(errors) - t)) for t in range(len(errors))
    ]


def discounted_returns(rewards: Sequence[float], gamma: float) -> list[float]:
    return [sum(gamma**lag * rewards[t + lag] for lag in range(len(rewards) - t)) for t in range(len(rewards))]


def policy_loss(logprob: float, old_logprob: float, advantage: float, clip_eps: float) -> float:
    """One token's -min(rho A, clip(rho, 1 - eps, 1 + eps) A), by cases on the sign of the advantage."""
    ratio = math.exp(logprob - old_logprob)
    if advantage >= 0:
        return -advantage * min(ratio, 1 + clip_eps)
    return -advantage * max(ratio, 1 - clip_eps)


def value_loss(value: float, old_value: float, target: float, clip_eps: float) -> float:
    """One token's half squared error, or that of the value held within eps of its old one, whichever is larger."""
    held = min(max(value, old_value - clip_eps), old_value + clip_eps)
    return max((value - target) ** 2, (held - target) ** 2) / 2
