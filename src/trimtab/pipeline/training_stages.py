"""The stages that learn from data: fine-tuning on demonstrations, a reward model, DPO.

Each unpacks its configuration into keyword arguments for the layers below, which know nothing of recipes, and writes a
model to `context.folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trimtab.config import DPOStage, RewardModelStage, SFTStage
from trimtab.data.chat import ChatTemplate
from trimtab.data.formats import read, read_comparisons, read_demonstrations, read_grades, read_rankings
from trimtab.data.splits import assert_disjoint
from trimtab.evaluation.tasks.reward_accuracy import reward_accuracy
from trimtab.feedback.scorers import score_comparisons
from trimtab.models.reference import reference_of
from trimtab.models.scalar_model import ScalarModel, is_reward_model
from trimtab.pipeline.artifacts import data_source
from trimtab.pipeline.context import Context
from trimtab.pipeline.reading import read_data
from trimtab.pipeline.resolve import Inputs, load_scorer, source
from trimtab.pipeline.trained_models import Summary, load_for_training, optimizer_settings, save_merged
from trimtab.seeds import mix
from trimtab.training.dpo import train_dpo
from trimtab.training.encoding import demonstration_rows, graded_rows, preference_rows, ranked_rows, watching
from trimtab.training.grades import GradeScale, on_grades
from trimtab.training.passes import Passes
from trimtab.training.reward_model import on_comparisons, on_rankings, train_reward_model
from trimtab.training.row_files import PreferenceRowFile
from trimtab.training.sft import train_sft
from trimtab.types import Comparison


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


def run_reward_model(config: RewardModelStage, inputs: Inputs, context: Context) -> Summary:
    """Train a reward model on what people said. The artifact is an adapter (or a model) with a scalar head beside it.

    Grades that are learnt from as such leave their scale there too.
    """
    held_out = _kept_away(config, inputs)
    model, template = _scalar_model(config, inputs, context)
    settings: dict[str, Any] = {
        "passes": Passes(config.num_epochs, config.prompts_per_step, config.max_steps),
        "settings": optimizer_settings(config),
        "normalize": config.normalize,
        "seed": context.seed,
        "checkpoint_seconds": config.checkpoint_seconds,
        "pad_id": template.pad_id,
        "run": context,
    }
    if config.ranking_loss == "plackett_luce":
        read = _read(read_rankings, "rankings", config, inputs, context)
        rankings = ranked_rows(read, template, max_length=config.max_length, run=context)
        train_reward_model(model, rankings, on_rankings(model), **settings)
        summary: Summary = {"ranked_responses": rankings.num_labels, "prompts": len(rankings)}
    elif config.grade_loss == "ordinal":
        read = _read(read_grades, "grades", config, inputs, context)
        grades = graded_rows(read, template, max_length=config.max_length, run=context)
        scale = GradeScale(grades.scores, width=model.head.in_features, device=model.trunk.device)
        mean, deviation = train_reward_model(model, grades, on_grades(model, scale), **settings)
        scale.save(context.folder, mean=mean, deviation=deviation)
        summary = {"grades": grades.num_labels, "prompts": len(grades)}
    else:
        pairs = compared_prompts(config, inputs, template, context)
        train_reward_model(model, pairs, on_comparisons(model, centering=config.centering), **settings)
        summary = {"comparisons": pairs.num_pairs, "prompts": len(pairs)}
    model.save(context.folder)
    template.tokenizer.save_pretrained(context.folder)
    if held_out:
        summary["held_out"] = _accuracy(model, template, held_out)
    return summary


def _kept_away(config: RewardModelStage, inputs: Inputs) -> list[Comparison]:
    """The held-out comparisons. Raises `DataError` where the stage is to learn from one of their prompts."""
    if config.held_out is None:
        return []
    held_out = list(read_comparisons(config.held_out))
    for one in config.sources:
        assert_disjoint(read(data_source(inputs, one), skip_bad=True, columns=config.columns), held_out)
    return held_out


def _accuracy(model: ScalarModel, template: ChatTemplate, held_out: Sequence[Comparison]) -> dict[str, Any]:
    """How often the reward model is right on comparisons that it did not learn from."""
    found = reward_accuracy(held_out, *score_comparisons(model, template, held_out))
    return {"comparisons": len(held_out), "accuracy": found.overall.to_json() if found is not None else None}


def _scalar_model(config: RewardModelStage, inputs: Inputs, context: Context) -> tuple[ScalarModel, ChatTemplate]:
    """A new head on the stage's model, or the reward model that the stage goes on from; and the template it reads by.

    Going on from one is preference model pre-training (Askell et al. 2021, section 4).
    """
    start = Path(source(inputs, config.model))
    if not is_reward_model(start):
        policy = load_for_training(config, inputs, context)
        model = ScalarModel.fresh(policy.trunk, adapter=policy.adapter, seed=mix(context.seed, 1))
        return model, policy.template
    return load_scorer(start, context.runtime, learns=True, allow_remote_code=config.allow_remote_code)


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
    comparisons = _read(read_comparisons, "comparisons", config, inputs, context)
    return preference_rows(comparisons, template, max_length=config.max_length, run=context)


def _read(
    reader: Callable[..., Iterator[Any]],
    what: str,
    config: RewardModelStage | DPOStage,
    inputs: Inputs,
    context: Context,
) -> Iterator[Any]:
    """The stage's data, while the run is told how much of it was read."""
    watch = watching(context, f"reading the {what}")
    return read_data(reader, config, inputs, watch)
