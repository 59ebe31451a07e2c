"""From a rollout to what PPO learns from: values, KL-shaped rewards, advantages and returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.algorithms.importance import logprob_gap
from trimtab.algorithms.kl import k1
from trimtab.algorithms.masked import masked_mean, masked_sum, whiten
from trimtab.algorithms.ppo import affine_fit, explained_variance, gae, kl_shaped_rewards
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.rollout import Rollout, measure, measure_reference, over_rows
from trimtab.training.rollout import summarise as summarise_rollout


@dataclass(frozen=True, slots=True)
class Shaping:
    """How scores become advantages."""

    gamma: float
    gae_lambda: float
    whiten_rewards: bool
    whiten_advantages: bool
    missing_eos_penalty: float


@dataclass(frozen=True, slots=True)
class Experience:
    """A rollout with everything the update needs, all response tensors `[R, T]`.

    `logprobs` and `entropies` are the policy's at sampling time, by the training graph.
    """

    rollout: Rollout
    logprobs: Tensor
    ref_logprobs: Tensor
    entropies: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    rewards: Tensor


def estimate(
    rollout: Rollout,
    policy: Policy,
    reference: Reference,
    value_model: ScalarModel,
    shaping: Shaping,
    *,
    kl_coef: float,
    temperature: float,
    max_tokens: int,
    fit_values: bool,
) -> Experience:
    """Log-probabilities, values, KL-shaped rewards, advantages and returns of a rollout.

    With `fit_values` the value head is first put on the scale of this rollout's returns.
    """
    pad_id, mask = policy.template.pad_id, rollout.mask
    logprobs, entropies = measure(rollout, policy, temperature=temperature, max_tokens=max_tokens)
    ref_logprobs = measure_reference(rollout, reference, temperature=temperature, max_tokens=max_tokens, pad_id=pad_id)
    rewards = shaped_rewards(rollout, logprobs, ref_logprobs, shaping, kl_coef=kl_coef)
    values = values_of(rollout, value_model, pad_id=pad_id, max_tokens=max_tokens)
    if fit_values:
        values = fit_value_head(value_model, values, rewards, mask, gamma=shaping.gamma)
    advantages, returns = gae(rewards, values, mask, gamma=shaping.gamma, gae_lambda=shaping.gae_lambda)
    if shaping.whiten_advantages:
        advantages = whiten(advantages, mask)
    return Experience(rollout, logprobs, ref_logprobs, entropies, values, advantages, returns, rewards)


def shaped_rewards(
    rollout: Rollout, logprobs: Tensor, ref_logprobs: Tensor, shaping: Shaping, *, kl_coef: float
) -> Tensor:
    """A rollout's scores, less the penalty of those that did not end, with the KL penalty at every token, `[R, T]`."""
    scores = rollout.scores - shaping.missing_eos_penalty * (~rollout.finished)
    rewards = kl_shaped_rewards(scores, logprobs, ref_logprobs, rollout.mask, kl_coef=kl_coef)
    return whiten(rewards, rollout.mask, shift_mean=False) if shaping.whiten_rewards else rewards


def fit_value_head(value_model: ScalarModel, values: Tensor, rewards: Tensor, mask: Tensor, *, gamma: float) -> Tensor:
    """Rescale the value head so that its values fit the returns of these rewards best; returns them, `[R, T]`.

    A reward model has learnt to read whole responses. In the middle of one its number is far from the return, and until
    the value model has unlearnt that, advantages are mostly its error. Trunk and direction are left as they are.
    """
    returns, _ = gae(rewards, torch.zeros_like(values), mask, gamma=gamma, gae_lambda=1.0)
    gain, bias = affine_fit(values, returns, mask)
    value_model.rescale(gain, bias)
    return torch.where(mask, gain * values + bias, 0.0)


def values_of(rollout: Rollout, value_model: ScalarModel, *, pad_id: int, max_tokens: int) -> Tensor:
    """The value model's values of a rollout, `[R, T]`."""
    (values,) = over_rows(
        rollout.rows,
        lambda batch: (value_model.values(batch),),
        max_tokens=max_tokens,
        pad_id=pad_id,
        device=rollout.mask.device,
    )
    return values


def summarise(experience: Experience, kl_coef: float) -> dict[str, float]:
    """The numbers worth watching. KL is summed over a response's tokens, then averaged over responses."""
    rollout, mask = experience.rollout, experience.rollout.mask
    numbers = {
        "reward/mean": masked_sum(experience.rewards, mask, dim=1).mean(),
        "kl/ref": masked_sum(k1(experience.logprobs, experience.ref_logprobs), mask, dim=1).mean(),
        "policy/entropy": masked_mean(experience.entropies, mask),
        "value/explained_variance": explained_variance(experience.values, experience.returns, mask),
        "sampler/logprob_gap": logprob_gap(experience.logprobs, rollout.sampler_logprobs, mask),
    }
    found = {name: value.item() for name, value in numbers.items()}
    return summarise_rollout(rollout) | found | {"kl/coef": kl_coef}
