"""What the stages that train share: a model loaded ready to learn, its optimiser, the plain model it is saved as."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trimtab.config import TrainingStage
from trimtab.config.reinforcement import ScoredStage
from trimtab.data.chat import ChatTemplate
from trimtab.data.chat_templates import lacks
from trimtab.errors import ModelError
from trimtab.models.loading import base_of, is_adapter, load_policy, load_reward_model
from trimtab.models.policy import Policy
from trimtab.models.registry import is_bilinear, load_tokenizer, locate
from trimtab.models.reward_model import RewardModel
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs, hardware, load_scorer, source
from trimtab.seeds import mix
from trimtab.training.step import OptimizerSettings
from trimtab.types import Message, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Summary = dict[str, Any]
"""What a stage tells of itself in its record."""


def load_for_training(
    config: TrainingStage, inputs: Inputs, context: Context, *, chat_template: str | None = None
) -> Policy:
    """The stage's model ready to learn: all of its weights in float32, or a fresh adapter on frozen ones.

    With `chat_template` in the place of its own. Raises `ModelError` when that has tokens an adapter cannot learn.
    """
    device, dtype = hardware(context.runtime)
    adapter = config.adapter
    start = source(inputs, config.model)
    if adapter is not None and chat_template is not None and (new := lacks(load_tokenizer(start), chat_template)):
        raise ModelError(
            f"the vocabulary of {config.model} has no {' and '.join(new)}, which the chat template {chat_template} "
            "writes. An adapter cannot learn new tokens: set adapter: null, or chat_template: plain"
        )
    policy = load_policy(
        start,
        weights_dtype=torch.float32 if adapter is None else dtype,
        compute_dtype=dtype,
        device=device,
        chat_template=chat_template,
        allow_remote_code=config.allow_remote_code,
    )
    if adapter is not None:
        torch.manual_seed(mix(context.seed, 0))
        policy.adapter = config.kind
        policy.trunk.add_adapter(policy.adapter, **adapter.model_dump())
    return policy


def load_reward_model_beside(
    config: ScoredStage, name: str, inputs: Inputs, policy: Policy, context: Context
) -> RewardModel:
    """The reward model, on the policy's own trunk when both are adapters on the same model."""
    folder = Path(source(inputs, name))
    check_same_tokens(load_tokenizer(str(folder)), policy)
    if is_bilinear(folder):
        model, _ = load_scorer(folder, context.runtime, allow_remote_code=config.allow_remote_code)
        return model
    device, dtype = hardware(context.runtime)
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


def save_merged(policy: Policy, context: Context) -> None:
    """Save as a plain model. An adapter is merged in float32, whatever the frozen weights were kept in."""
    if policy.adapter is None:
        policy.save(context.folder)
        return
    adapter = context.state / "adapter"
    policy.save(adapter)
    load_policy(str(adapter)).save(context.folder)


def optimizer_settings(config: TrainingStage) -> OptimizerSettings:
    """The optimiser's part of a stage's settings."""
    return OptimizerSettings(**{name: getattr(config, name) for name in OptimizerSettings.__dataclass_fields__})
