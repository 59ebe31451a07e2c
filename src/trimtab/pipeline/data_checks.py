"""Looking through data before anything is computed: a bad row is told in seconds, not after an hour of training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from trimtab.config.base import DataStage
from trimtab.config.evaluation import EvaluationStage, TextEvaluationStage
from trimtab.config.feedback import JudgeStage, ReviseStage, SelfInstructStage
from trimtab.config.recipe import Recipe
from trimtab.config.reinforcement import GRPOStage
from trimtab.config.training import RewardModelStage, TextTuningStage, TrainingStage
from trimtab.data.formats import (
    read,
    read_comparisons,
    read_demonstrations,
    read_grades,
    read_prompts,
    read_rankings,
)
from trimtab.data.passages import Passage, spread
from trimtab.data.seed_tasks import read_seed_tasks
from trimtab.data.splits import assert_disjoint, prompt_key
from trimtab.data.text import Parts, read_text
from trimtab.errors import DataError, UserError
from trimtab.evaluation.outputs import group_prompts
from trimtab.evaluation.tasks.truth_checks import truth_sample, truth_task
from trimtab.feedback.constitution import read_constitution, read_examples
from trimtab.feedback.instructions import read_instructions
from trimtab.pipeline.reading import helpful_prompts, read_data, text_parts
from trimtab.types import Comparison, Prompt

READERS: Mapping[str, Callable[..., Iterator[Any]]] = {
    "sft": read_demonstrations,
    "text_tuning": read_text,
    "label": read_prompts,
    "judge": read_prompts,
    "revise": read_prompts,
    "self_instruct": read_seed_tasks,
    "reward_model": read_comparisons,
    "dpo": read_comparisons,
    "ppo": read_prompts,
    "grpo": read_prompts,
}


def check_data(recipe: Recipe, names: Iterable[str]) -> None:
    """Read all data of these stages once, but what is yet to be labelled.

    Raises `UserError` with the stage's name in front.
    """
    for name in names:
        stage = recipe.stages[name]
        try:
            if isinstance(stage, EvaluationStage):
                before = learning_stages(recipe, name)
                held_out_data(stage, {n: _from_disk(one, recipe) for n, one in before.items()})
            elif isinstance(stage, TextEvaluationStage):
                text_to_measure_on(stage, learning_stages(recipe, name))
            elif isinstance(stage, DataStage):
                records = read_data(_reader(stage), _from_disk(stage, recipe), {})
                if isinstance(stage, GRPOStage) and stage.is_scored_by_checks:
                    records = _with_checks(records)
                deque(records, maxlen=0)  # each is read and none is kept
                _read_beside(stage, recipe, name)
        except UserError as error:
            raise type(error)(f"{name}: {error}") from error


def _read_beside(stage: DataStage, recipe: Recipe, name: str) -> None:
    """Read what the stage needs beside its data."""
    if isinstance(stage, SelfInstructStage):
        deque(chain.from_iterable(map(read_prompts, stage.held_out)), maxlen=0)
    elif isinstance(stage, ReviseStage):
        read_constitution(Path(stage.constitution))
        if stage.examples is not None:
            read_examples(Path(stage.examples))
        deque(helpful_prompts(stage), maxlen=0)
    elif isinstance(stage, RewardModelStage) and stage.held_out is not None:
        _assert_unseen(list(read_comparisons(stage.held_out)), _taught(recipe, name))
    elif isinstance(stage, JudgeStage):
        read_instructions(stage.instructions, stage.constitution)
        if stage.trusted is not None:
            judge = stage.judge if stage.judge in recipe.stages else None
            _assert_unseen(list(read_comparisons(stage.trusted)), {} if judge is None else _taught(recipe, judge))


def _taught(recipe: Recipe, name: str) -> dict[str, DataStage]:
    """What a stage's model has learnt from when it is done, as far as it is on the disk."""
    return {one: _from_disk(stage, recipe) for one, stage in learning_stages(recipe, name, with_itself=True).items()}


def _reader(stage: DataStage) -> Callable[..., Iterator[Any]]:
    """What reads the stage's data as the stage will."""
    if isinstance(stage, RewardModelStage) and stage.ranking_loss == "plackett_luce":
        return read_rankings
    if isinstance(stage, RewardModelStage) and stage.grade_loss == "ordinal":
        return read_grades
    if isinstance(stage, JudgeStage) and stage.model is None:
        return read_comparisons
    return READERS[stage.kind]


def _from_disk(stage: DataStage, recipe: Recipe) -> DataStage:
    """The stage without the data that is yet to be made."""
    return stage.model_copy(update={"data": [one for one in stage.sources if one not in recipe.stages]})


def _with_checks(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    """The prompts, while each one's checks are read. Raises `DataError` naming the row when they cannot be."""
    for number, prompt in enumerate(prompts, start=1):
        truth_sample(prompt, number)
        yield prompt


def learning_stages(recipe: Recipe, name: str, *, with_itself: bool = False) -> dict[str, DataStage]:
    """The settings of the stages before this one, and perhaps its own, that learnt from data, by name."""
    upstream = {before: recipe.stages[before] for before in (*recipe.upstream(name), *[name] * with_itself)}
    return {before: stage for before, stage in upstream.items() if isinstance(stage, TrainingStage)}


def text_to_measure_on(
    config: TextEvaluationStage, learnt_from: Mapping[str, DataStage]
) -> tuple[Parts, list[Passage], list[Passage]]:
    """A text in two parts, passages of the held-out one, and passages of the one that is learnt from.

    Raises `DataError` where nothing is held out, a stage before learns from what another holds out, or a part is short.
    """
    tuning = learnt_from[config.text]
    assert isinstance(tuning, TextTuningStage)
    if not tuning.held_out:
        raise DataError(f"{config.text} holds nothing out, so there is no text to measure on: set its held_out")
    for name, stage in learnt_from.items():
        shared = {*stage.sources} & {*tuning.sources}
        same_part = isinstance(stage, TextTuningStage) and stage.held_out == tuning.held_out
        if shared and not (same_part and stage.sources == tuning.sources):
            raise DataError(
                f"{name} and {config.text} learn from {min(shared)}, but do not hold out the same part of it, so what "
                "one learnt from could be measured on. Give both the same data and held_out"
            )
    parts = text_parts(tuning)
    held_out = spread(parts.held_out(), config.passages, parts.length - parts.border)
    known = spread(parts.learnt(), config.passages, parts.border)
    if min(len(held_out), len(known)) < 2:
        raise DataError("the text is too short to be measured on: each part needs passages of some 1,000 characters")
    return parts, held_out, known


def held_out_data(
    config: EvaluationStage, learnt_from: Mapping[str, DataStage]
) -> tuple[list[Prompt], list[Comparison]]:
    """The held-out data, looked through before any model answers. Raises `DataError` for what would spoil the numbers.

    That is a check that cannot be read, a prompt that comes twice, or one that a stage before learnt from.
    """
    prompts = list(read_prompts(config.prompts, skip_bad=config.skip_bad, columns=config.columns))
    groups = group_prompts(prompts).groups
    for group in [one.group for one in (config.bars, *config.promises) if one is not None]:
        if group not in groups:
            raise DataError(f"a promise speaks of the group {group!r}, but held-out prompts are in {[*groups]}")
    if any("truth" in prompt.meta for prompt in prompts):
        truth_task(prompts)
    if len({prompt_key(prompt) for prompt in prompts}) < len(prompts):
        raise DataError(f"a prompt comes twice in {config.prompts}: it would count as two, and is one")
    comparisons: list[Comparison] = []
    if config.comparisons is not None:
        comparisons = list(read_comparisons(config.comparisons, skip_bad=config.skip_bad))
    _assert_unseen([*prompts, *comparisons], learnt_from)
    return prompts, comparisons


def _assert_unseen(held_out: Sequence[Prompt | Comparison], learnt_from: Mapping[str, DataStage]) -> None:
    """Raise `DataError` where a stage learnt from a prompt that something is measured on."""
    for name, stage in learnt_from.items():
        try:
            for one in stage.sources:
                assert_disjoint(read(one, skip_bad=True, columns=stage.columns), held_out)
        except DataError as error:
            raise DataError(f"held-out data and the data of {name} overlap. {error}") from error
