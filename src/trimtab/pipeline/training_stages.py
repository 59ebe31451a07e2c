"""The stages that learn from data: fine-tuning on demonstrations, a reward model, DPO.

Each unpacks its configuration into keyword arguments for the layers below, which know nothing of recipes, and writes a
model to `context.folder`.
"""

from __future__ import annotations

from trimtab.config import DPOStage, RewardModelStage, SFTStage
from trimtab.data.formats import read_comparisons, read_demonstrations
from trimtab.models.policy import Policy
from trimtab.models.reference import reference_of
from trimtab.models.scalar_model import ScalarModel
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs
from trimtab.pipeline.trained_models import Summary, load_for_training, optimizer_settings, save_merged
from trimtab.seeds import mix
from trimtab.training.dpo import train_dpo
from trimtab.training.encoding import demonstration_rows, preference_rows, watching
from trimtab.training.passes import Passes
from trimtab.training.reward_model import train_reward_model
from trimtab.training.row_files import PreferenceRowFile
from trimtab.training.sft import train_sft


def run_sft(config: SFTStage, inputs: Inputs, context: Context) -> Summary:
    """Fine-tune a model on demonstrations. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context)
    watch = watching(context, "tokenising the demonstrations")
    demonstrations = read_demonstrations(config.data, skip_bad=config.skip_bad, columns=config.columns, watch=watch)
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


def run_reward_model(config: RewardModelStage, inputs: Inputs, context: Context) -> Summary:
    """Train a reward model on comparisons. The artifact is an adapter (or a model) with a scalar head beside it."""
    policy = load_for_training(config, inputs, context)
    rows = compared_prompts(config, policy, context)
    model = ScalarModel.fresh(policy.trunk, adapter=policy.adapter, seed=mix(context.seed, 1))
    train_reward_model(
        model,
        rows,
        passes=Passes(config.num_epochs, config.prompts_per_step, config.max_steps),
        settings=optimizer_settings(config),
        centering=config.centering,
        normalize=config.normalize,
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        pad_id=policy.template.pad_id,
        run=context,
    )
    model.save(context.folder)
    policy.tokenizer.save_pretrained(context.folder)
    return {"comparisons": rows.num_pairs, "prompts": len(rows)}


def run_dpo(config: DPOStage, inputs: Inputs, context: Context) -> Summary:
    """Train a policy on comparisons directly. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context)
    rows = compared_prompts(config, policy, context)
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


def compared_prompts(config: RewardModelStage | DPOStage, policy: Policy, context: Context) -> PreferenceRowFile:
    """The comparisons of the stage's data as token rows on the disk."""
    watch = watching(context, "reading the comparisons")
    comparisons = read_comparisons(config.data, skip_bad=config.skip_bad, columns=config.columns, watch=watch)
    return preference_rows(comparisons, policy.template, max_length=config.max_length, run=context)
