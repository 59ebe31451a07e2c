"""Answers that evaluations kept, of models from any runs, side by side on the prompts that all were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trimtab.config.recipe import nearest
from trimtab.errors import UserError
from trimtab.evaluation.answers_file import read_answers
from trimtab.evaluation.outputs import ModelOutputs
from trimtab.pipeline.artifacts import ANSWERS, artifacts_in
from trimtab.types import Prompt


def recorded_answers(name: str) -> ModelOutputs:
    """What a model answered when it was last evaluated: `<store>/<model>`, or `<store>` for the last model of its run.

    Raises `UserError`, saying what there is, when nothing was evaluated there or not this model.
    """
    path = Path(name)
    store, model = (path, "") if _evaluations(path) else (path.parent, path.name)
    found = _evaluations(store)
    if not found:
        raise UserError(
            f"no evaluation of {name} is kept in {store}. Name a run's folder, or a model in it: runs/demo/policy. "
            "A stage of kind evaluation makes what is compared: trimtab run RECIPE"
        )
    answers = read_answers(found[-1])
    model = model or [*answers][-1]
    if model not in answers:
        raise UserError(f"{store} evaluated {', '.join(answers)}, and no {model!r}{nearest(model, answers)}")
    return replace(answers[model], name=f"{store}/{model}")


def aligned(several: Sequence[ModelOutputs]) -> tuple[list[Prompt], list[ModelOutputs]]:
    """The prompts that all were asked, in the first's order, and each model's answers to those alone.

    Sampled answers are kept where all have equally many. Raises `UserError` when there is no such prompt.
    """
    places = [{one.prompt: place for place, one in enumerate(outputs.greedy)} for outputs in several]
    prompts = [one.prompt for one in several[0].greedy if all(one.prompt in known for known in places)]
    if not prompts:
        raise UserError(
            f"{' and '.join(one.name for one in several)} were asked different prompts, so nothing is paired"
        )
    drawn = {len(outputs.sampled[0]) if outputs.sampled else 0 for outputs in several}
    return prompts, [
        replace(
            outputs,
            greedy=[outputs.greedy[known[prompt]] for prompt in prompts],
            sampled=[outputs.sampled[known[prompt]] for prompt in prompts] if len(drawn) == 1 and drawn != {0} else (),
        )
        for outputs, known in zip(several, places, strict=True)
    ]


def _evaluations(store: Path) -> list[Path]:
    found = [one.path / ANSWERS for one in artifacts_in(store) if one.kind == "evaluation"] if store.is_dir() else []
    return [file for file in found if file.is_file()]
