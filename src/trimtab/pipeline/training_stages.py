"""The stages that train a policy on data: fine-tuning on demonstrations, DPO on comparisons.

Each unpacks its configuration into keyword arguments for the layers below, which know nothing of recipes, and writes a
model to `context.folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trimtab.config import DPOStage, RewardModelStage, SFTStage
from trimtab.data.chat import ChatTemplate
from trimtab.data.formats import read_comparisons, read_demonstrations
from trimtab.models.reference import reference_of
from trimtab.pipeline.context import Context
from trimtab.pipeline.reading import read_data
from trimtab.pipeline.resolve import Inputs
from trimtab.pipeline.trained_models import Summary, load_for_training, optimizer_settings, save_merged
from trimtab.training.dpo import train_dpo
from trimtab.training.encoding import demonstration_rows, preference_rows, watching
from trimtab.training.passes import Passes
from trimtab.training.row_files import PreferenceRowFile
from trimtab.training.sft import train_sft


def run_sft(config: SFTStage, inputs: Inputs, context: Context) -> Summary:
    """Fine-tune a model on demonstrations. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context, chat_template=config.chat_template)
    watch = watching(context, "tokenising the demonstrations")
    demonstrations = read_data(read_demonstrations, config, inputs, watch)
    rows = demonstration_rows(demonstrations, policy.template, max_length=config.max_length, run=context)
    train_sft(
        policy,
        rows,
        passes=Passes(config.num_epochs, config.batch_size, config.max_steps),
        settings=optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    return {"demonstrations": len(rows), "response_tokens": sum(len(row.responses[0]) for row in rows)}


def run_dpo(config: DPOStage, inputs: Inputs, context: Context) -> Summary:
    """Train a policy on comparisons directly. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context)
    rows = compared_prompts(config, inputs, policy.template, context)
    train_dpo(
        policy,
        reference_of(policy, context.state / "reference.safetensors"),
        rows,
        passes=Passes(config.num_epochs, config.prompts_per_step, config.max_steps),
        settings=optimizer_settings(config),
        beta=config.beta,
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    return {"comparisons": rows.num_pairs, "prompts": len(rows)}


def compared_prompts(
    config: RewardModelStage | DPOStage, inputs: Inputs, template: ChatTemplate, context: Context
) -> PreferenceRowFile:
    """The comparisons of the stage's data as token rows on the disk."""
    comparisons = labelled(read_comparisons, "comparisons", config, inputs, context)
    return preference_rows(comparisons, template, max_length=config.max_length, run=context)


def labelled(
    reader: Callable[..., Iterator[Any]],
    what: str,
    config: RewardModelStage | DPOStage,
    inputs: Inputs,
    context: Context,
) -> Iterator[Any]:
    """The stage's data, while the run is told how much of it was read."""
    watch = watching(context, f"reading the {what}")
    return read_data(reader, config, inputs, watch)
