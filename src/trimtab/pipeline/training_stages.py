"""The stages that train: fine-tuning on demonstrations, a reward model, PPO.

Each unpacks its configuration into keyword arguments for the layers below, which know nothing of recipes, and writes a
model to `context.folder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trimtab.config import Adapter, PPOStage, RewardModelStage, SFTStage, TrainingStage
from trimtab.data.chat import ChatTemplate
from trimtab.data.formats import read_comparisons, read_demonstrations, read_prompts
from trimtab.errors import ModelError
from trimtab.feedback.scorers import RewardModelScorer
from trimtab.generation.engine import Engine
from trimtab.models.loading import base_of, is_adapter, load_policy, load_reward_model
from trimtab.models.policy import Policy
from trimtab.models.reference import reference_of
from trimtab.models.registry import load_tokenizer, locate
from trimtab.models.scalar_model import ScalarModel
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs, hardware, source
from trimtab.seeds import mix
from trimtab.training.encoding import check_prompts, demonstration_rows, preference_rows
from trimtab.training.ppo import PPOSettings, train_ppo
from trimtab.training.reward_model import train_reward_model
from trimtab.training.sft import train_sft
from trimtab.training.step import OptimizerSettings
from trimtab.types import Message, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Summary = dict[str, Any]


def run_sft(config: SFTStage, inputs: Inputs, context: Context) -> Summary:
    """Fine-tune a model on demonstrations. The artifact is a plain model, an adapter merged into it."""
    policy = _load_for_training(config, inputs, context)
    demonstrations = read_demonstrations(config.data, skip_bad=config.skip_bad, columns=config.columns)
    rows = demonstration_rows(demonstrations, policy.template, max_length=config.max_length)
    train_sft(
        policy,
        rows,
        settings=_optimizer_settings(config),
        num_epochs=config.num_epochs,
        batch_size=config.batch_size,
        max_steps=config.max_steps,
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    _save_merged(policy, context)
    return {"demonstrations": len(rows), "response_tokens": sum(len(row.responses[0]) for row in rows)}


def run_reward_model(config: RewardModelStage, inputs: Inputs, context: Context) -> Summary:
    """Train a reward model on comparisons. The artifact is an adapter (or a model) with a scalar head beside it."""
    policy = _load_for_training(config, inputs, context)
    comparisons = read_comparisons(config.data, skip_bad=config.skip_bad, columns=config.columns)
    rows = preference_rows(comparisons, policy.template, max_length=config.max_length)
    model = ScalarModel.fresh(policy.trunk, adapter=policy.adapter, seed=mix(context.seed, 1))
    train_reward_model(
        model,
        rows,
        settings=_optimizer_settings(config),
        num_epochs=config.num_epochs,
        prompts_per_step=config.prompts_per_step,
        max_steps=config.max_steps,
        centering=config.centering,
        normalize=config.normalize,
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        pad_id=policy.template.pad_id,
        run=context,
    )
    model.save(context.folder)
    policy.tokenizer.save_pretrained(context.folder)
    return {"comparisons": len(comparisons), "prompts": len(rows)}


def run_ppo(config: PPOStage, inputs: Inputs, context: Context) -> Summary:
    """Train a policy against a reward model. The artifact is a plain model, an adapter merged into it."""
    policy = _load_for_training(config, inputs, context)
    reward_model = _load_reward_model(config, inputs, policy, context)
    prompts = read_prompts(config.data, skip_bad=config.skip_bad, columns=config.columns)
    check_prompts(prompts, policy.template, max_length=config.max_length - config.max_new_tokens)
    template, max_tokens = policy.template, config.micro_batch_tokens
    dtype = policy.trunk.compute_dtype
    torch.manual_seed(mix(context.seed, 2))
    value_model = reward_model.copy("value", **(config.adapter or Adapter()).model_dump())
    engine = Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id, dtype=dtype)
    train_ppo(
        policy,
        reference_of(policy, context.state / "reference.safetensors"),
        RewardModelScorer(reward_model, pad_id=template.pad_id, max_tokens=max_tokens),
        value_model,
        engine,
        prompts,
        settings=PPOSettings(**{name: getattr(config, name) for name in PPOSettings.__dataclass_fields__}),
        optimizer_settings=_optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    _save_merged(policy, context)
    return {"prompts": len(prompts), "responses": config.num_steps * config.prompts_per_step * config.group_size}


def _load_for_training(config: TrainingStage, inputs: Inputs, context: Context) -> Policy:
    """The stage's model ready to learn: all of its weights in float32, or a fresh adapter on frozen ones."""
    device, dtype = hardware(context.runtime)
    adapter = config.adapter
    policy = load_policy(
        source(inputs, config.model),
        weights_dtype=torch.float32 if adapter is None else dtype,
        compute_dtype=dtype,
        device=device,
        allow_remote_code=config.allow_remote_code,
    )
    if adapter is not None:
        torch.manual_seed(mix(context.seed, 0))
        policy.adapter = config.kind
        policy.trunk.add_adapter(policy.adapter, **adapter.model_dump())
    return policy


def _load_reward_model(config: PPOStage, inputs: Inputs, policy: Policy, context: Context) -> ScalarModel:
    """The reward model, on the policy's own trunk when both are adapters on the same model."""
    device, dtype = hardware(context.runtime)
    folder = Path(source(inputs, config.reward_model))
    check_same_tokens(load_tokenizer(str(folder)), policy)
    start = locate(source(inputs, config.model))
    shares = policy.adapter is not None and is_adapter(folder) and base_of(folder).resolve() == start.resolve()
    return load_reward_model(
        folder,
        onto=policy.trunk if shares else None,
        compute_dtype=dtype,
        device=device,
        allow_remote_code=config.allow_remote_code,
    )


def check_same_tokens(tokenizer: PreTrainedTokenizerBase, policy: Policy) -> None:
    """A reward model reads the very tokens the policy drew, so both must mean the same by them."""
    theirs, ours = ChatTemplate(tokenizer), policy.template
    probe = Prompt((Message("user", "What is this worth, 12.50 EUR?"),))
    if tokenizer.get_vocab() != policy.tokenizer.get_vocab() or (
        theirs.prompt_ids(probe) + theirs.response_ids("Nothing.")
        != ours.prompt_ids(probe) + ours.response_ids("Nothing.")
    ):
        raise ModelError(
            "the reward model has another tokenizer or chat template than the policy, whose tokens it is to score. "
            "Train the reward model on a model of the same family"
        )


def _save_merged(policy: Policy, context: Context) -> None:
    """Save as a plain model. An adapter is merged in float32, whatever the frozen weights were kept in."""
    if policy.adapter is None:
        policy.save(context.folder)
        return
    adapter = context.state / "adapter"
    policy.save(adapter)
    load_policy(str(adapter)).save(context.folder)


def _optimizer_settings(config: TrainingStage) -> OptimizerSettings:
    return OptimizerSettings(**{name: getattr(config, name) for name in OptimizerSettings.__dataclass_fields__})
