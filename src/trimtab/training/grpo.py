"""GRPO: sample groups, score, compare each response with the others of its group, take clipped steps. No value model.

Shao et al. 2024, "DeepSeekMath", algorithm 1, with the choices that later papers made as settings: advantages scaled
by the group's deviation or not (Liu et al. 2025) or against the mean of the others (Ahmadian et al. 2024), tokens or
responses weighed alike (Yu et al. 2025), KL or not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.algorithms.aggregation import Aggregation, token_weights
from trimtab.algorithms.group import ADVANTAGES, Advantages
from trimtab.algorithms.importance import truncated_importance_weights
from trimtab.algorithms.kl import k1, kl_loss
from trimtab.algorithms.masked import masked_sum
from trimtab.algorithms.output import LossOutput, Metrics, merge, over_tokens, reduce
from trimtab.algorithms.ppo import clipped_policy_loss
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import RowBatch
from trimtab.seeds import mix
from trimtab.training.batches import endless_batch
from trimtab.training.learner import Learner
from trimtab.training.minibatches import Cut, PartLoss, minibatches, num_tokens, over_minibatch
from trimtab.training.rollout import (
    Rollout,
    Scorer,
    check_gap,
    check_scores,
    collect,
    measure,
    measure_reference,
    summarise,
)
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import OptimizerSettings
from trimtab.types import Prompt


@dataclass(frozen=True, slots=True)
class GRPOSettings:
    """GRPO's own hyper-parameters. Counts of responses are prompts times `group_size`."""

    num_steps: int
    prompts_per_step: int
    group_size: int
    max_new_tokens: int
    temperature: float
    num_epochs: int
    minibatch_size: int | None
    kl_coef: float
    clip_eps: float
    advantages: Advantages
    aggregation: Aggregation
    importance_cap: float | None
    missing_eos_penalty: float

    @property
    def is_on_policy(self) -> bool:
        """Whether each rollout is learnt from in one update, before which the policy cannot have moved."""
        return self.num_epochs == 1 and self.minibatch_size is None


@dataclass(frozen=True, slots=True)
class GroupExperience:
    """A rollout with what the update needs: `advantages` `[R]`, log-probabilities `[R, T]`.

    `old_logprobs` is None when the update itself computes them, `ref_logprobs` when no KL is asked for.
    """

    rollout: Rollout
    advantages: Tensor
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None


def train_grpo(
    policy: Policy,
    reference: Reference,
    scorer: Scorer,
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    settings: GRPOSettings,
    optimizer_settings: OptimizerSettings,
    seed: int,
    checkpoint_seconds: float,
    run: Run,
) -> None:
    """Train the policy in place. Raises `NumericsError` and `Interrupted`."""
    s, pad_id, dump = settings, policy.template.pad_id, run.state / "bad_batch.json"
    learner = Learner.of(policy.trainable_parameters(), optimizer_settings, range(s.num_steps))
    checkpoint = Checkpoint(run, learner.parameters, [learner.optimizer], every_seconds=checkpoint_seconds)

    start, _ = checkpoint.restore()
    for step in range(start, s.num_steps):
        began, where = time.perf_counter(), f"grpo step {step + 1}"
        torch.manual_seed(mix(seed, step))

        # 1 Groups of responses, 2 scores.
        rollout = collect(
            policy,
            scorer,
            engine,
            [prompts[i] for i in endless_batch(len(prompts), s.prompts_per_step, step, seed=seed)],
            group_size=s.group_size,
            max_new_tokens=s.max_new_tokens,
            temperature=s.temperature,
            seed=mix(seed, step, 1),
        )
        check_scores(rollout, where, run)

        # 3 Advantages within groups; old and reference log-probabilities, where they are needed.
        experience = compare(rollout, policy, reference, s, max_tokens=optimizer_settings.micro_batch_tokens)
        rollout_seconds = time.perf_counter() - began

        # 4 Epochs x minibatches.
        metrics: Metrics = {}
        largest_norm = 0.0
        for epoch in range(s.num_epochs):
            for chosen in minibatches(rollout.rows, s.minibatch_size, mix(seed, step, 2, epoch)):
                loss = group_loss(policy, experience, chosen, s)
                loss_of = over_minibatch(loss, rollout.rows, chosen, pad_id=pad_id, device=learner.device)
                picked = [rollout.rows[i] for i in chosen]
                new, norm = learner.learn(picked, loss_of, step=step, where=where, dump=dump)
                metrics, largest_norm = merge(metrics, new), max(largest_norm, norm)

        # 5 Log, 6 save.
        numbers = summarise(rollout) | reduce(metrics)
        check_gap(numbers["sampler/logprob_gap"], where, run)
        seconds = time.perf_counter() - began
        numbers |= {"optim/grad_norm": largest_norm, "optim/learning_rate": learner.rate(step)}
        numbers |= {"time/rollout": rollout_seconds, "time/train": seconds - rollout_seconds, "time/step": seconds}
        run.log({"step": step + 1, **numbers})
        run.progress("grpo", step + 1, s.num_steps, score=numbers["score/mean"])
        checkpoint.step_done(step + 1, s.num_steps)


def compare(
    rollout: Rollout, policy: Policy, reference: Reference, s: GRPOSettings, *, max_tokens: int
) -> GroupExperience:
    """Advantages of a rollout, and log-probabilities as far as the update cannot do without them."""
    scores = rollout.scores - s.missing_eos_penalty * (~rollout.finished)
    old_logprobs = ref_logprobs = None
    if not s.is_on_policy:
        old_logprobs, _ = measure(rollout, policy, temperature=s.temperature, max_tokens=max_tokens)
    if s.kl_coef > 0:
        ref_logprobs = measure_reference(
            rollout, reference, temperature=s.temperature, max_tokens=max_tokens, pad_id=policy.template.pad_id
        )
    advantages = ADVANTAGES[s.advantages](scores, rollout.groups)
    return GroupExperience(rollout, advantages, old_logprobs, ref_logprobs)


def group_loss(policy: Policy, experience: GroupExperience, chosen: Sequence[int], s: GRPOSettings) -> PartLoss:
    """The clipped policy loss at the sampling temperature, plus KL if it is asked for, over the chosen rows."""
    rollout = experience.rollout
    weight_of_tokens = token_weights(rollout.mask, s.aggregation)
    normalizer = num_tokens(rollout.rows, chosen)
    if s.aggregation == "response":
        normalizer = sum(len(rollout.rows[i].responses) for i in chosen)

    def loss(batch: RowBatch, cut: Cut) -> LossOutput:
        mask = batch.mask
        logprobs, entropies = policy.logprobs_and_entropy(batch, temperature=s.temperature)
        old_logprobs = logprobs.detach() if experience.old_logprobs is None else cut(experience.old_logprobs)
        sampler_logprobs = cut(rollout.sampler_logprobs)
        weights = token_weight = cut(weight_of_tokens)
        if s.importance_cap is not None:
            weights = token_weight * truncated_importance_weights(
                old_logprobs, sampler_logprobs, mask, cap=s.importance_cap
            )
        advantages = cut(experience.advantages[:, None].expand(rollout.mask.shape))
        output = clipped_policy_loss(
            logprobs, old_logprobs, advantages, mask, clip_eps=s.clip_eps, weights=weights, normalizer=normalizer
        )
        metrics: Metrics = {
            **output.metrics,
            "policy/entropy": over_tokens(entropies, mask),
            "sampler/logprob_gap": over_tokens((old_logprobs - sampler_logprobs).abs(), mask),
        }
        if experience.ref_logprobs is None:
            return LossOutput(output.loss, metrics)
        ref_logprobs = cut(experience.ref_logprobs)
        kl = kl_loss(logprobs, ref_logprobs, mask, weights=token_weight, normalizer=normalizer)
        drift = masked_sum(k1(logprobs.detach(), ref_logprobs), mask)
        metrics |= {**kl.metrics, "kl/ref": (drift, len(mask))}
        return LossOutput(output.loss + s.kl_coef * kl.loss, metrics)

    return loss
