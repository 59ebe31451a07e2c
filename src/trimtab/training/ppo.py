"""RLHF with PPO: sample, score, keep close to the reference, estimate advantages, take clipped steps.

The loop is InstructGPT's (Ouyang et al. 2022, appendix C.4) with the details of the TL;DR reproduction (Huang et al.
2024, arXiv 2403.17031). `docs/algorithms.md` says for each published detail where it is done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from trimtab.algorithms.importance import truncated_importance_weights
from trimtab.algorithms.kl import adapt_kl_coef
from trimtab.algorithms.output import LossOutput, Metrics, merge, reduce
from trimtab.algorithms.ppo import clipped_policy_loss, clipped_value_loss
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import RowBatch
from trimtab.models.scalar_model import ScalarModel
from trimtab.seeds import mix
from trimtab.training.batches import endless_batch
from trimtab.training.experience import Experience, Shaping, estimate, summarise
from trimtab.training.learner import Learner
from trimtab.training.minibatches import Cut, PartLoss, minibatches, num_tokens, over_minibatch
from trimtab.training.rollout import Scorer, check_gap, check_scores, collect
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import OptimizerSettings
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
    importance_cap: float | None
    whiten_rewards: bool
    whiten_advantages: bool
    missing_eos_penalty: float

    @property
    def shaping(self) -> Shaping:
        """The part that says how scores become advantages."""
        return Shaping(**{name: getattr(self, name) for name in Shaping.__dataclass_fields__})


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
    s, pad_id, dump = settings, policy.template.pad_id, run.state / "bad_batch.json"
    value_settings = replace(optimizer_settings, learning_rate=s.value_learning_rate)
    learners = {
        "value": Learner.of(value_model.trainable_parameters(), value_settings, range(s.num_steps)),
        "policy": Learner.of(
            policy.trainable_parameters(), optimizer_settings, range(s.value_warmup_steps, s.num_steps)
        ),
    }
    checkpoint = Checkpoint(
        run,
        {**learners["policy"].parameters, **learners["value"].parameters},
        [learners["policy"].optimizer, learners["value"].optimizer],
        every_seconds=checkpoint_seconds,
    )

    start, saved = checkpoint.restore()
    kl_coef = saved.get("kl_coef", s.kl_coef)
    for step in range(start, s.num_steps):
        began, where = time.perf_counter(), f"ppo step {step + 1}"
        torch.manual_seed(mix(seed, step))

        # 1 Rollouts, 2 scores.
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
        rollout_seconds = time.perf_counter() - began

        # 3 KL-shaped rewards, 4 advantages. A value model fresh from the reward model is put on the scale of returns.
        experience = estimate(
            rollout,
            policy,
            reference,
            value_model,
            s.shaping,
            kl_coef=kl_coef,
            temperature=s.temperature,
            max_tokens=optimizer_settings.micro_batch_tokens,
            fit_values=step == 0,
        )

        # 5 Epochs x minibatches. The policy waits until the value model has warmed up.
        metrics: Metrics = {}
        norms: dict[str, float] = {"policy": 0.0, "value": 0.0}
        for epoch in range(s.num_epochs):
            for chosen in minibatches(rollout.rows, s.minibatch_size, mix(seed, step, 2, epoch)):
                normalizer = num_tokens(rollout.rows, chosen)
                losses = {
                    "value": value_loss(value_model, experience, s, normalizer),
                    "policy": policy_loss(policy, experience, s, normalizer),
                }
                for name, learner in learners.items():
                    if step in learner.steps:
                        loss_of = over_minibatch(
                            losses[name], rollout.rows, chosen, pad_id=pad_id, device=learner.device
                        )
                        picked = [rollout.rows[i] for i in chosen]
                        new, norm = learner.learn(picked, loss_of, step=step, where=where, dump=dump)
                        metrics, norms[name] = merge(metrics, new), max(norms[name], norm)

        # 6 KL controller.
        numbers = summarise(experience, kl_coef) | reduce(metrics)
        check_gap(numbers["sampler/logprob_gap"], where, run)
        if s.kl_target is not None:
            kl_coef = adapt_kl_coef(
                kl_coef, numbers["kl/ref"], target=s.kl_target, horizon=s.kl_horizon, num_steps=len(rollout.scores)
            )

        # 7 Log, 8 save.
        seconds = time.perf_counter() - began
        numbers |= {"optim/grad_norm": norms["policy"], "optim/value_grad_norm": norms["value"]}
        numbers |= {"optim/learning_rate": learners["policy"].rate(step)}
        numbers |= {"time/rollout": rollout_seconds, "time/train": seconds - rollout_seconds, "time/step": seconds}
        run.log({"step": step + 1, **numbers})
        run.progress("ppo", step + 1, s.num_steps, score=numbers["score/mean"], kl=numbers["kl/ref"])
        checkpoint.step_done(step + 1, s.num_steps, {"kl_coef": kl_coef})


def policy_loss(policy: Policy, experience: Experience, s: PPOSettings, normalizer: float) -> PartLoss:
    """The clipped policy loss at the sampling temperature."""
    rollout, old_logprobs, weights = experience.rollout, experience.logprobs, None
    if s.importance_cap is not None:
        weights = truncated_importance_weights(
            old_logprobs, rollout.sampler_logprobs, rollout.mask, cap=s.importance_cap
        )

    def loss(batch: RowBatch, cut: Cut) -> LossOutput:
        logprobs = policy.logprobs(batch, temperature=s.temperature)  # no dropout: the ratio must be 1 at first
        return clipped_policy_loss(
            logprobs,
            cut(old_logprobs),
            cut(experience.advantages),
            batch.mask,
            clip_eps=s.clip_eps,
            weights=None if weights is None else cut(weights),
            normalizer=normalizer,
        )

    return loss


def value_loss(value_model: ScalarModel, experience: Experience, s: PPOSettings, normalizer: float) -> PartLoss:
    """The clipped value loss."""

    def loss(batch: RowBatch, cut: Cut) -> LossOutput:
        values, returns = cut(experience.values), cut(experience.returns)
        return clipped_value_loss(
            value_model.values(batch), values, returns, batch.mask, clip_eps=s.value_clip_eps, normalizer=normalizer
        )

    return loss
