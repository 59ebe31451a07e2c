"""`trimtab compare`: two models of any runs side by side, on the prompts that both of them answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AllowRemoteCode, Json
from trimtab.errors import UserError

if TYPE_CHECKING:
    from trimtab.evaluation.outputs import ModelOutputs


def compare_command(
    before: Annotated[
        str, typer.Argument(metavar="RUN[/MODEL]", help="A run, for its last model, or a model: runs/demo/policy.")
    ],
    after: Annotated[str, typer.Argument(metavar="RUN[/MODEL]", help="What is compared with it.")],
    scorer: Annotated[str | None, typer.Option(help="A reward model that scores both: a folder, or RUN/STAGE.")] = None,
    every_check: Annotated[bool, typer.Option("--every-check", help="Show single checks as well.")] = False,
    allow_remote_code: AllowRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Compare what two models of any runs answered in their evaluations. No model is asked anything anew.

    The differences are paired by prompt. Scores come from --scorer alone: those of two runs are of different scales.
    """
    from rich.console import Console

    from trimtab.cli.console import evaluation_table
    from trimtab.evaluation.summary import Judge, evaluate
    from trimtab.pipeline.recorded_answers import aligned, recorded_answers

    recorded = [recorded_answers(name) for name in (before, after)]
    prompts, outputs = aligned(recorded)
    if scorer is not None:
        outputs = _scored(outputs, scorer, allow_remote_code=allow_remote_code)
    judge = Judge(scorer) if scorer is not None else None
    evaluation = evaluate(outputs, prompts, judge=judge, num_random=0, num_losses=0, seed=0)
    if as_json:
        typer.echo(json.dumps(evaluation, ensure_ascii=False, indent=2, allow_nan=False))
        return
    asked = {one.name: len(one.greedy) for one in recorded}
    if set(asked.values()) != {len(prompts)}:
        counts = ", ".join(f"{name} {count}" for name, count in asked.items())
        typer.echo(f"{len(prompts)} prompts were asked of both ({counts}); the others are left out.", err=True)
    Console(highlight=False, markup=False, emoji=False).print(evaluation_table(evaluation, every_check=every_check))


def _scored(outputs: list[ModelOutputs], scorer: str, *, allow_remote_code: bool) -> list[ModelOutputs]:
    from trimtab.cli.console import progress_lines
    from trimtab.config import Runtime
    from trimtab.pipeline.answer_scores import with_scores
    from trimtab.pipeline.find import find_reward_model
    from trimtab.pipeline.resolve import load_scorer

    folder = find_reward_model(scorer)
    if folder is None:
        raise UserError(f"{scorer} is no reward model. Name a folder, or a stage in a run: runs/demo/reward_model")
    model, template = load_scorer(folder, Runtime(), allow_remote_code=allow_remote_code)
    told = progress_lines()
    return [with_scores(one, model, template, told) for one in outputs]
