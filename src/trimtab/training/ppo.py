"""RLHF with PPO: sample, score, keep close to the reference, estimate advantages, take clipped steps.

The loop is InstructGPT's (Ouyang et al. 2022, appendix C.4) with the details of the TL;DR reproduction (Huang et al.
2024, arXiv 2403.17031). `docs/algorithms.md` says for each published detail where it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trimtab.algorithms.group import zero_variance_fraction
from trimtab.algorithms.kl import adapt_kl_coef, k1
from trimtab.algorithms.masked import masked_mean, masked_sum, whiten
from trimtab.algorithms.output import LossOutput, Metrics, merge, reduce
from trimtab.algorithms.ppo import (
    affine_fit,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    gae,
    kl_shaped_rewards,
)
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import RowBatch, lay_out, response_slices
from trimtab.models.scalar_model import ScalarModel
from trimtab.seeds import mix
from trimtab.training.batches import endless_batch, permutation
from trimtab.training.rollout import Rollout, Scorer, collect, over_rows
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import OptimizerSettings, accumulate, bad_rows, learning_rate, make_optimizer, update
from trimtab.types import Prompt


@dataclass(frozen=True, slots=True)
class PPOSettings:
    """PPO's own hyper-parameters. Counts of responses are prompts times `group_size`."""

    num_steps: int
    prompts_per_step: int
    group_size: int
    max_new_tokens: int
    temperature: float
    num_epochs: int
    minibatch_size: int | None
    value_learning_rate: float
    value_warmup_steps: int
    kl_coef: float
    kl_target: float | None
    kl_horizon: float
    gamma: float
    gae_lambda: float
    clip_eps: float
    value_clip_eps: float
    whiten_rewards: bool
    whiten_advantages: bool
    missing_eos_penalty: float


@dataclass(frozen=True, slots=True)
class Experience:
    """A rollout with everything the update needs, all response tensors `[R, T]`."""

    rollout: Rollout
    values: Tensor
    advantages: Tensor
    returns: Tensor
    rewards: Tensor


def train_ppo(
    policy: Policy,
    reference: Reference,
    scorer: Scorer,
    value_model: ScalarModel,
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    settings: PPOSettings,
    optimizer_settings: OptimizerSettings,
    seed: int,
    checkpoint_seconds: float,
    run: Run,
) -> None:
    """Train the policy and the value model in place. Raises `NumericsError` and `Interrupted`."""
    s, max_tokens = settings, optimizer_settings.micro_batch_tokens
    policy_learner = Learner.of(
        policy.trainable_parameters(),
        optimizer_settings,
        policy_loss(policy, s),
        range(s.value_warmup_steps, s.num_steps),
    )
    value_settings = replace(optimizer_settings, learning_rate=s.value_learning_rate)
    value_learner = Learner.of(
        value_model.trainable_parameters(), value_settings, value_loss(value_model, s), range(s.num_steps)
    )
    checkpoint = Checkpoint(
        run,
        policy_learner.parameters | value_learner.parameters,
        [policy_learner.optimizer, value_learner.optimizer],
        every_seconds=checkpoint_seconds,
    )

    start, saved = checkpoint.restore()
    kl_coef = saved.get("kl_coef", s.kl_coef)
    for step in range(start, s.num_steps):
        began = time.perf_counter()
        torch.manual_seed(mix(seed, step))

        # 1 Rollouts, 2 scores.
        batch = [prompts[i] for i in endless_batch(len(prompts), s.prompts_per_step, step, seed=seed)]
        rollout = collect(
            policy,
            reference,
            scorer,
            engine,
            batch,
            group_size=s.group_size,
            max_new_tokens=s.max_new_tokens,
            temperature=s.temperature,
            seed=mix(seed, step, 1),
            max_tokens=max_tokens,
        )
        check_scores(rollout, f"ppo step {step + 1}", run)
        rollout_seconds = time.perf_counter() - began

        # 3 KL-shaped rewards, 4 advantages. A value model fresh from the reward model is put on the scale of returns.
        if step == 0:
            fit_value_head(
                rollout, value_model, s, kl_coef=kl_coef, pad_id=policy.template.pad_id, max_tokens=max_tokens
            )
        experience = estimate(
            rollout, value_model, s, kl_coef=kl_coef, pad_id=policy.template.pad_id, max_tokens=max_tokens
        )

        # 5 Epochs x minibatches. The policy waits until the value model has warmed up.
        metrics: Metrics = {}
        norms: dict[str, float] = {"policy": 0.0, "value": 0.0}
        learners = {"value": value_learner, "policy": policy_learner}
        learners = {name: learner for name, learner in learners.items() if step in learner.steps}
        for epoch in range(s.num_epochs):
            for rows in minibatches(rollout, s.minibatch_size, mix(seed, step, 2, epoch)):
                for name, learner in learners.items():
                    new, norm = learner.learn(experience, rows, step, policy.template.pad_id, run)
                    metrics = merge(metrics, new)
                    norms[name] = max(norms[name], norm)

        # 6 KL controller.
        numbers = summarise(experience, kl_coef) | reduce(metrics)
        if s.kl_target is not None:
            kl_coef = adapt_kl_coef(
                kl_coef, numbers["kl/ref"], target=s.kl_target, horizon=s.kl_horizon, num_steps=len(rollout.scores)
            )

        # 7 Log, 8 save.
        seconds = time.perf_counter() - began
        rate = policy_learner.rate(step)
        numbers |= {"optim/grad_norm": norms["policy"], "optim/value_grad_norm": norms["value"]}
        numbers |= {"optim/learning_rate": rate}
        numbers |= {"time/rollout": rollout_seconds, "time/train": seconds - rollout_seconds, "time/step": seconds}
        run.log({"step": step + 1, **numbers})
        run.progress("ppo", step + 1, s.num_steps, score=numbers["score/mean"], kl=numbers["kl/ref"])
        checkpoint.step_done(step + 1, s.num_steps, {"kl_coef": kl_coef})


def check_scores(rollout: Rollout, where: str, run: Run) -> None:
    """Raise `NumericsError` naming the rows of a rollout that have a score which is not finite."""
    finite = torch.isfinite(rollout.scores)
    if not finite.all():
        bad = [i for i, piece in enumerate(response_slices(rollout.rows)) if not finite[piece].all()]
        raise bad_rows(rollout.rows, bad, "a score is not finite", where, run.state / "bad_batch.json")


def estimate(
    rollout: Rollout, value_model: ScalarModel, s: PPOSettings, *, kl_coef: float, pad_id: int, max_tokens: int
) -> Experience:
    """Values, KL-shaped rewards, advantages and returns of a rollout."""
    values, mask = values_of(rollout, value_model, pad_id=pad_id, max_tokens=max_tokens), rollout.mask
    rewards = shaped_rewards(rollout, s, kl_coef=kl_coef)
    advantages, returns = gae(rewards, values, mask, gamma=s.gamma, gae_lambda=s.gae_lambda)
    if s.whiten_advantages:
        advantages = whiten(advantages, mask)
    return Experience(rollout, values, advantages, returns, rewards)


def fit_value_head(
    rollout: Rollout, value_model: ScalarModel, s: PPOSettings, *, kl_coef: float, pad_id: int, max_tokens: int
) -> None:
    """Rescale the value head to fit the returns of a rollout best, trunk and direction left as the reward model's.

    A reward model has learnt to read whole responses. In the middle of one its number is far from the return, and until
    the value model has unlearnt that, advantages are mostly its error.
    """
    values = values_of(rollout, value_model, pad_id=pad_id, max_tokens=max_tokens)
    rewards = shaped_rewards(rollout, s, kl_coef=kl_coef)
    returns, _ = gae(rewards, torch.zeros_like(values), rollout.mask, gamma=s.gamma, gae_lambda=1.0)
    value_model.rescale(*affine_fit(values, returns, rollout.mask))


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


def shaped_rewards(rollout: Rollout, s: PPOSettings, *, kl_coef: float) -> Tensor:
    """A rollout's scores, less the penalty of those that did not end, with the KL penalty at every token, `[R, T]`."""
    scores = rollout.scores - s.missing_eos_penalty * (~rollout.finished)
    rewards = kl_shaped_rewards(scores, rollout.logprobs, rollout.ref_logprobs, rollout.mask, kl_coef=kl_coef)
    return whiten(rewards, rollout.mask, shift_mean=False) if s.whiten_rewards else rewards


def minibatches(rollout: Rollout, minibatch_size: int | None, seed: int) -> list[list[int]]:
    """Rows of a rollout in shuffled minibatches of about `minibatch_size` responses; a group stays together."""
    count, group = len(rollout.rows), len(rollout.rows[0].responses)
    order = permutation(count, seed)
    size = count if minibatch_size is None else max(minibatch_size // group, 1)
    return [order[start : start + size] for start in range(0, count, size)]


@dataclass(frozen=True, slots=True)
class Minibatch:
    """Part of an experience beside the rows it belongs to, all response tensors `[r, t]`."""

    batch: RowBatch
    old_logprobs: Tensor
    advantages: Tensor
    old_values: Tensor
    returns: Tensor


MinibatchLoss = Callable[[Minibatch, float], LossOutput]
"""A micro-batch and the minibatch's number of response tokens -> its share of the minibatch's loss."""


def policy_loss(policy: Policy, s: PPOSettings) -> MinibatchLoss:
    """The clipped policy loss of a micro-batch, at the sampling temperature."""

    def loss(part: Minibatch, normalizer: float) -> LossOutput:
        logprobs = policy.logprobs(part.batch, temperature=s.temperature)  # no dropout: the ratio must be 1 at first
        return clipped_policy_loss(
            logprobs, part.old_logprobs, part.advantages, part.batch.mask, clip_eps=s.clip_eps, normalizer=normalizer
        )

    return loss


def value_loss(value_model: ScalarModel, s: PPOSettings) -> MinibatchLoss:
    """The clipped value loss of a micro-batch."""

    def loss(part: Minibatch, normalizer: float) -> LossOutput:
        values = value_model.values(part.batch)
        return clipped_value_loss(
            values, part.old_values, part.returns, part.batch.mask, clip_eps=s.value_clip_eps, normalizer=normalizer
        )

    return loss


@dataclass(frozen=True, slots=True)
class Learner:
    """One of the two models that learn, and in which steps. Each has its own parameters, so one graph is in memory."""

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    settings: OptimizerSettings
    loss: MinibatchLoss
    steps: range

    @classmethod
    def of(
        cls, parameters: dict[str, nn.Parameter], settings: OptimizerSettings, loss: MinibatchLoss, steps: range
    ) -> Learner:
        """A learner with a fresh optimiser."""
        return cls(parameters, make_optimizer(parameters.values(), settings), settings, loss, steps)

    def rate(self, step: int) -> float:
        """The learning rate of a step: warm-up and decay span the steps in which this model learns; 0 before them."""
        return learning_rate(step - self.steps.start, len(self.steps), self.settings) if step in self.steps else 0.0

    def learn(self, experience: Experience, rows: list[int], step: int, pad_id: int, run: Run) -> tuple[Metrics, float]:
        """One update from a minibatch of these rows; returns its metrics and its gradient norm."""
        rollout, where = experience.rollout, f"ppo step {step + 1}"
        slices = response_slices(rollout.rows)
        normalizer = sum(rollout.mask[slices[i]].sum().item() for i in rows)

        def loss_of(indices: list[int]) -> LossOutput:
            chosen = [rows[i] for i in indices]
            batch = lay_out([rollout.rows[i] for i in chosen], pad_id=pad_id, device=rollout.mask.device)
            places = torch.cat([torch.arange(slices[i].start, slices[i].stop) for i in chosen])
            return self.loss(_part(experience, batch, places), normalizer)

        metrics = accumulate(
            [rollout.rows[i] for i in rows],
            loss_of,
            max_tokens=self.settings.micro_batch_tokens,
            where=where,
            dump=run.state / "bad_batch.json",
        )
        norm = update(
            self.optimizer,
            self.parameters,
            rate=self.rate(step),
            max_grad_norm=self.settings.max_grad_norm,
            where=where,
        )
        return metrics, norm


def _part(experience: Experience, batch: RowBatch, places: Tensor) -> Minibatch:
    """The responses at `places`, as wide as their own batch."""
    width = batch.mask.shape[1]
    tensors = (experience.rollout.logprobs, experience.advantages, experience.values, experience.returns)
    return Minibatch(batch, *(tensor[places, :width] for tensor in tensors))


def summarise(experience: Experience, kl_coef: float) -> dict[str, float]:
    """The numbers of a rollout worth watching. KL is summed over a response's tokens, then averaged over responses."""
    rollout, mask = experience.rollout, experience.rollout.mask
    lengths = mask.sum(1).float()
    kl = masked_sum(k1(rollout.logprobs, rollout.ref_logprobs), mask, dim=1)
    gap = (rollout.logprobs - rollout.sampler_logprobs).abs()
    groups = torch.arange(len(rollout.rows)).repeat_interleave(len(rollout.rows[0].responses)).to(mask.device)
    numbers = {
        "score/mean": rollout.scores.mean(),
        "score/std": rollout.scores.std(unbiased=False),
        "reward/mean": masked_sum(experience.rewards, mask, dim=1).mean(),
        "kl/ref": kl.mean(),
        "policy/entropy": masked_mean(rollout.entropies, mask),
        "value/explained_variance": explained_variance(experience.values, experience.returns, mask),
        "response/length": lengths.mean(),
        "response/eos_fraction": rollout.finished.float().mean(),
        "group/zero_variance_fraction": zero_variance_fraction(rollout.scores, groups),
        "sampler/logprob_gap": masked_mean(gap, mask),
    }
    return {name: value.item() for name, value in numbers.items()} | {"kl/coef": kl_coef}
