"""The stage that learns to score responses from what people said of them: by training a model, or a head on one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.config import RewardModelStage
from trimtab.data.chat import ChatTemplate
from trimtab.data.formats import read, read_comparisons, read_grades, read_rankings
from trimtab.data.splits import assert_disjoint
from trimtab.errors import ModelError
from trimtab.evaluation.tasks.reward_accuracy import reward_accuracy
from trimtab.feedback.scorers import score_comparisons
from trimtab.models.bilinear_reward import BilinearHead, BilinearReward
from trimtab.models.loading import load_bilinear_reward, load_reward_model
from trimtab.models.registry import is_bilinear, load_tokenizer
from trimtab.models.reward_model import RewardModel
from trimtab.models.scalar_model import ScalarModel, is_scalar_model
from trimtab.pipeline.artifacts import data_source
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs, hardware, load_writer, source
from trimtab.pipeline.trained_models import Summary, load_for_training, optimizer_settings
from trimtab.pipeline.training_stages import compared_prompts, labelled
from trimtab.seeds import mix
from trimtab.training.bilinear_reward import fit_bilinear_reward
from trimtab.training.encoding import graded_rows, ranked_rows
from trimtab.training.grades import GradeScale, on_grades
from trimtab.training.passes import Passes
from trimtab.training.reward_model import on_comparisons, on_rankings, train_reward_model
from trimtab.types import Comparison


def run_reward_model(config: RewardModelStage, inputs: Inputs, context: Context) -> Summary:
    """Learn to score responses from what people said, and measure it on what was held out."""
    held_out = _kept_away(config, inputs)
    learn = _learn_head if config.frozen else _train
    model, template, summary = learn(config, inputs, context)
    model.save(context.folder)
    template.tokenizer.save_pretrained(context.folder)
    if held_out:
        summary["held_out"] = _accuracy(model, template, held_out)
    return summary


def _train(config: RewardModelStage, inputs: Inputs, context: Context) -> tuple[ScalarModel, ChatTemplate, Summary]:
    """Train a reward model. The artifact is an adapter (or a model) with a scalar head beside it.

    Grades that are learnt from as such leave their scale there too.
    """
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
        read = labelled(read_rankings, "rankings", config, inputs, context)
        rankings = ranked_rows(read, template, max_length=config.max_length, run=context)
        train_reward_model(model, rankings, on_rankings(model), **settings)
        summary: Summary = {"ranked_responses": rankings.num_labels, "prompts": len(rankings)}
    elif config.grade_loss == "ordinal":
        read = labelled(read_grades, "grades", config, inputs, context)
        grades = graded_rows(read, template, max_length=config.max_length, run=context)
        scale = GradeScale(grades.scores, width=model.head.in_features, device=model.trunk.device)
        mean, deviation = train_reward_model(model, grades, on_grades(model, scale), **settings)
        scale.save(context.folder, mean=mean, deviation=deviation)
        summary = {"grades": grades.num_labels, "prompts": len(grades)}
    else:
        pairs = compared_prompts(config, inputs, template, context)
        train_reward_model(model, pairs, on_comparisons(model, centering=config.centering), **settings)
        summary = {"comparisons": pairs.num_pairs, "prompts": len(pairs)}
    return model, template, summary


def _learn_head(
    config: RewardModelStage, inputs: Inputs, context: Context
) -> tuple[BilinearReward, ChatTemplate, Summary]:
    """Learn a bilinear head on the model as it is. The artifact is the head, and where its model is."""
    model, template = _bilinear(config, inputs, context)
    pairs = compared_prompts(config, inputs, template, context)
    fit_bilinear_reward(
        model,
        pairs,
        l2=config.l2,
        normalize=config.normalize,
        pad_id=template.pad_id,
        max_tokens=config.micro_batch_tokens,
        run=context,
    )
    return model, template, {"comparisons": pairs.num_pairs, "prompts": len(pairs)}


def _kept_away(config: RewardModelStage, inputs: Inputs) -> list[Comparison]:
    """The held-out comparisons. Raises `DataError` where the stage is to learn from one of their prompts."""
    if config.held_out is None:
        return []
    held_out = list(read_comparisons(config.held_out))
    for one in config.sources:
        assert_disjoint(read(data_source(inputs, one), skip_bad=True, columns=config.columns), held_out)
    return held_out


def _accuracy(model: RewardModel, template: ChatTemplate, held_out: Sequence[Comparison]) -> dict[str, Any]:
    """How often the reward model is right on comparisons that it did not learn from."""
    found = reward_accuracy(held_out, *score_comparisons(model, template, held_out))
    return {"comparisons": len(held_out), "accuracy": found.overall.to_json() if found is not None else None}


def _bilinear(config: RewardModelStage, inputs: Inputs, context: Context) -> tuple[BilinearReward, ChatTemplate]:
    """A new head on the stage's model, or the head that the stage goes on from; and the template it reads by."""
    start = source(inputs, config.model)
    if is_bilinear(Path(start)):
        device, dtype = hardware(context.runtime)
        remote = config.allow_remote_code
        model = load_bilinear_reward(Path(start), compute_dtype=dtype, device=device, allow_remote_code=remote)
        return model, ChatTemplate(load_tokenizer(start))
    policy = load_writer(start, context.runtime, allow_remote_code=config.allow_remote_code)
    head = BilinearHead.fresh(policy.trunk.config.hidden_size)
    return BilinearReward(policy.trunk, head, base=start), policy.template


def _scalar_model(config: RewardModelStage, inputs: Inputs, context: Context) -> tuple[ScalarModel, ChatTemplate]:
    """A new head on the stage's model, or the reward model that the stage goes on from; and the template it reads by.

    Going on from one is preference model pre-training (Askell et al. 2021, section 4).
    """
    start = Path(source(inputs, config.model))
    if is_bilinear(start):
        raise ModelError(f"{config.model} is a frozen model's head, which only frozen: true can go on from")
    if not is_scalar_model(start):
        policy = load_for_training(config, inputs, context)
        model = ScalarModel.fresh(policy.trunk, adapter=policy.adapter, seed=mix(context.seed, 1))
        return model, policy.template
    device, dtype = hardware(context.runtime)
    model = load_reward_model(
        start, learns=True, compute_dtype=dtype, device=device, allow_remote_code=config.allow_remote_code
    )
    return model, ChatTemplate(load_tokenizer(str(start)))
