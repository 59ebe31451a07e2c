"""The stages that learn from what the policy writes: PPO and GRPO.

Each unpacks its configuration into keyword arguments for the layers below, which know nothing of recipes, and writes a
model to `context.folder`.
"""

from __future__ import annotations

from collections.abc import Sized

import torch

from trimtab.config import Adapter, GRPOStage, PPOStage, TrainingStage
from trimtab.config.reinforcement import ScoredStage
from trimtab.data.formats import read_prompts
from trimtab.data.on_disk import Spool
from trimtab.evaluation.tasks.truth_checks import score_response, truth_sample
from trimtab.feedback.grading import GradeScorer
from trimtab.feedback.instructions import read_instructions
from trimtab.feedback.scorers import FunctionScorer, RewardModelScorer
from trimtab.generation.engine import Engine
from trimtab.generation.local import LocalModel
from trimtab.models.policy import Policy
from trimtab.models.reference import reference_of
from trimtab.models.reward_model import RewardModel
from trimtab.models.scalar_model import ScalarModel
from trimtab.pipeline.context import Context
from trimtab.pipeline.endpoints import keep_calls, stage_endpoint
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
    """Train a policy against a reward model or a grader. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context)
    reward_model = _reward_model(config, inputs, policy, context)
    prompts = stored_prompts(config, inputs, context)
    check_prompts(prompts, policy.template, max_length=config.max_length - config.max_new_tokens, run=context)
    train_ppo(
        policy,
        reference_of(policy, context.state / "reference.safetensors"),
        _scorer(config, inputs, policy, reward_model, context),
        _value_model(config, inputs, policy, reward_model, context),
        Engine.of(policy),
        prompts,
        settings=PPOSettings(**{name: getattr(config, name) for name in PPOSettings.__dataclass_fields__}),
        optimizer_settings=optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    keep_calls(config.endpoint, context)
    return _summary(config, prompts)


def run_grpo(config: GRPOStage, inputs: Inputs, context: Context) -> Summary:
    """Train a policy on its own answers, compared in groups. The artifact is a plain model, an adapter merged in."""
    policy = load_for_training(config, inputs, context)
    prompts = stored_prompts(config, inputs, context)
    check_prompts(prompts, policy.template, max_length=config.max_length - config.max_new_tokens, run=context)
    reward_model = _reward_model(config, inputs, policy, context)
    train_grpo(
        policy,
        reference_of(policy, context.state / "reference.safetensors"),
        _scorer(config, inputs, policy, reward_model, context),
        Engine.of(policy),
        prompts,
        settings=GRPOSettings(**{name: getattr(config, name) for name in GRPOSettings.__dataclass_fields__}),
        optimizer_settings=optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    keep_calls(config.endpoint, context)
    return _summary(config, prompts)


def _summary(config: PPOStage | GRPOStage, prompts: Sized) -> Summary:
    return {"prompts": len(prompts), "responses": config.num_steps * config.prompts_per_step * config.group_size}


def _reward_model(config: ScoredStage, inputs: Inputs, policy: Policy, context: Context) -> RewardModel | None:
    if config.reward_model is None:
        return None
    return load_reward_model_beside(config, config.reward_model, inputs, policy, context)


def _scorer(
    config: ScoredStage, inputs: Inputs, policy: Policy, reward_model: RewardModel | None, context: Context
) -> Scorer:
    """What scores responses: the reward model, a grader, or the checks in the data."""
    if reward_model is not None:
        return RewardModelScorer(reward_model, policy.template, max_tokens=config.micro_batch_tokens)
    return _grade_scorer(config, inputs, context) if config.is_graded else checks_scorer()


def _value_model(
    config: PPOStage, inputs: Inputs, policy: Policy, reward_model: RewardModel | None, context: Context
) -> ScalarModel:
    """A copy of the reward model. Without one to train, a new head and adapter on the policy's first weights."""
    adapter = (config.adapter or Adapter()).model_dump()
    torch.manual_seed(mix(context.seed, 2))
    if isinstance(reward_model, ScalarModel):
        return reward_model.copy("value", **adapter)
    trunk = policy.trunk
    if policy.adapter is None:  # the policy's own weights are about to change
        start, remote = source(inputs, config.model), config.allow_remote_code
        trunk = load_writer(start, context.runtime, allow_remote_code=remote).trunk
    trunk.add_adapter("value", **adapter)
    return ScalarModel.fresh(trunk, adapter="value", seed=mix(context.seed, 3))


def _grade_scorer(config: ScoredStage, inputs: Inputs, context: Context) -> GradeScorer:
    """Scores by a model that reads the rubric: a second one in memory, as it must stay what it is, or a server's."""
    rubric = read_instructions(config.rubric, None).text
    if config.grader is None:
        return GradeScorer(stage_endpoint(config.endpoint, context), rubric, warn=context.warn, seed=context.seed)
    policy = load_writer(source(inputs, config.grader), context.runtime, allow_remote_code=config.allow_remote_code)
    return GradeScorer(LocalModel(policy, name=config.grader), rubric, warn=context.warn, seed=context.seed)


def stored_prompts(config: TrainingStage, inputs: Inputs, context: Context) -> Spool[Prompt]:
    """The prompts of the stage's data, kept on the disk."""
    watch = watching(context, "reading the prompts")
    return Spool(read_data(read_prompts, config, inputs, watch), context.state)


def checks_scorer() -> FunctionScorer:
    """Scores a completion by the share it passes of the checks in its prompt's column `truth`."""

    def score(prompt: Prompt, completion: Completion) -> float:
        return score_response(truth_sample(prompt, 1), completion.text).value

    return FunctionScorer(score)
