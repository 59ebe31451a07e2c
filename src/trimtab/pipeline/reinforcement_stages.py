"""The stages that learn from what the policy writes: PPO and GRPO.

Each unpacks its configuration into keyword arguments for the layers below, which know nothing of recipes, and writes a
model to `context.folder`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from trimtab.config import Adapter, GRPOStage, PPOStage, TrainingStage
from trimtab.data.formats import read_prompts
from trimtab.data.on_disk import Spool
from trimtab.evaluation.tasks.truth_checks import score_response, truth_sample
from trimtab.feedback.grading import GradeScorer
from trimtab.feedback.scorers import FunctionScorer, RewardModelScorer
from trimtab.generation.engine import Engine
from trimtab.generation.local import LocalModel
from trimtab.models.reference import reference_of
from trimtab.pipeline.context import Context
from trimtab.pipeline.reading import read_data
from trimtab.pipeline.resolve import Inputs, load_writer, source
from trimtab.pipeline.trained_models import (
    Summary,
    load_for_training,
    load_reward_model_beside,
    optimizer_settings,
    save_merged,
)
from trimtab.seeds import mix
from trimtab.training.encoding import check_prompts, watching
from trimtab.training.grpo import GRPOSettings, train_grpo
from trimtab.training.ppo import PPOSettings, train_ppo
from trimtab.training.rollout import Scorer
from trimtab.types import Completion, Prompt


def run_ppo(config: PPOStage, inputs: Inputs, context: Context) -> Summary:
    """Train a policy against a reward model. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context)
    reward_model = load_reward_model_beside(config, config.reward_model, inputs, policy, context)
    prompts = stored_prompts(config, inputs, context)
    check_prompts(prompts, policy.template, max_length=config.max_length - config.max_new_tokens, run=context)
    template, max_tokens = policy.template, config.micro_batch_tokens
    torch.manual_seed(mix(context.seed, 2))
    value_model = reward_model.copy("value", **(config.adapter or Adapter()).model_dump())
    engine = Engine.of(policy)
    train_ppo(
        policy,
        reference_of(policy, context.state / "reference.safetensors"),
        RewardModelScorer(reward_model, pad_id=template.pad_id, max_tokens=max_tokens),
        value_model,
        engine,
        prompts,
        settings=PPOSettings(**{name: getattr(config, name) for name in PPOSettings.__dataclass_fields__}),
        optimizer_settings=optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    return {"prompts": len(prompts), "responses": config.num_steps * config.prompts_per_step * config.group_size}


def run_grpo(config: GRPOStage, inputs: Inputs, context: Context) -> Summary:
    """Train a policy on its own answers, compared in groups. The artifact is a plain model, an adapter merged in."""
    policy = load_for_training(config, inputs, context)
    prompts = stored_prompts(config, inputs, context)
    check_prompts(prompts, policy.template, max_length=config.max_length - config.max_new_tokens, run=context)
    template = policy.template
    scorer: Scorer = checks_scorer()
    if config.grader is not None:
        scorer = _grade_scorer(config, inputs, context)
    elif config.reward_model is not None:
        reward_model = load_reward_model_beside(config, config.reward_model, inputs, policy, context)
        scorer = RewardModelScorer(reward_model, pad_id=template.pad_id, max_tokens=config.micro_batch_tokens)
    train_grpo(
        policy,
        reference_of(policy, context.state / "reference.safetensors"),
        scorer,
        Engine.of(policy),
        prompts,
        settings=GRPOSettings(**{name: getattr(config, name) for name in GRPOSettings.__dataclass_fields__}),
        optimizer_settings=optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    return {"prompts": len(prompts), "responses": config.num_steps * config.prompts_per_step * config.group_size}


def _grade_scorer(config: GRPOStage, inputs: Inputs, context: Context) -> GradeScorer:
    """Scores by a model that reads the rubric: a second model in memory, as it must stay what it is."""
    name = config.grader or ""
    grader = load_writer(source(inputs, name), context.runtime, allow_remote_code=config.allow_remote_code)
    rubric = Path(config.rubric or "").read_text(encoding="utf-8")
    return GradeScorer(LocalModel(grader, name=name), rubric, seed=context.seed)


def stored_prompts(config: TrainingStage, inputs: Inputs, context: Context) -> Spool[Prompt]:
    """The prompts of the stage's data, kept on the disk."""
    watch = watching(context, "reading the prompts")
    return Spool(read_data(read_prompts, config, inputs, watch), context.state)


def checks_scorer() -> FunctionScorer:
    """Scores a completion by the share it passes of the checks in its prompt's column `truth`."""

    def score(prompt: Prompt, completion: Completion) -> float:
        return score_response(truth_sample(prompt, 1), completion.text).value

    return FunctionScorer(score)
