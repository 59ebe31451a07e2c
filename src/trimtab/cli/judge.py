"""`trimtab judge`: how good a judge is, on comparisons that people labelled and against answers that try to fool it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AllowRemoteCode, Json

if TYPE_CHECKING:
    from trimtab.evaluation.judge_measures import JudgeReport
    from trimtab.evaluation.statistics import Estimate
    from trimtab.pipeline.judges import Judge

SECONDS_BETWEEN_LINES = 10.0


def judge_command(
    data: Annotated[str, typer.Argument(help="Comparisons that people labelled.")],
    judge: Annotated[str, typer.Option(help="The judge: a model, or a reward model's folder or stage.")],
    instructions: Annotated[Path | None, typer.Option(help="What it goes by, a text file.")] = None,
    constitution: Annotated[Path | None, typer.Option(help="Principles to ask it about, a YAML file.")] = None,
    thinking: Annotated[int, typer.Option(min=0, help="Tokens of reasons before it decides.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at this many comparisons only.")] = None,
    injections: Annotated[bool, typer.Option(help="Try answers that tell the judge what to say, too.")] = True,
    fence: Annotated[bool, typer.Option(help="Set answers apart with marks that they cannot know.")] = True,
    least_mass: Annotated[
        float, typer.Option(min=0, max=1, help="Probability both letters must have, or the answer is malformed.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(min=0, help="Draws marks and questions.")] = 0,
    as_json: Json = False,
    allow_remote_code: AllowRemoteCode = False,
) -> None:
    """Measure a judge: accuracy beside guessing and beside people, leanings to a place and to length, calibration."""
    from trimtab.cli.libraries import settle_libraries

    settle_libraries()
    from itertools import islice

    from trimtab.data.formats import read_comparisons
    from trimtab.feedback.injections import attempts
    from trimtab.feedback.judge import Manner
    from trimtab.pipeline.judges import measure_judge

    comparisons = list(islice(read_comparisons(data), limit))
    manner = Manner(ask="all", thinking=thinking, least_mass=least_mass, fence=fence)
    opened = _opened(judge, instructions, constitution, manner, seed, allow_remote_code)
    report = measure_judge(opened, comparisons)
    attacked = _by_kind(attempts(opened)) if injections else {}
    if as_json:
        plain = {"judge": judge, "data": data, **report.to_json()}
        plain["injections"] = {kind: one.to_json() for kind, one in attacked.items()}
        typer.echo(json.dumps(plain, ensure_ascii=False, indent=2))
    else:
        _show(report, attacked)


def _opened(
    name: str, instructions: Path | None, constitution: Path | None, manner: Any, seed: int, allow_remote_code: bool
) -> Judge:
    """The judge of this name: a reward model where the folder holds one, else a model that reads instructions."""
    from trimtab.cli.writers import open_writer
    from trimtab.config import Runtime
    from trimtab.errors import UserError
    from trimtab.generation.local import LocalModel
    from trimtab.pipeline.find import find_policy, find_reward_model
    from trimtab.pipeline.judges import by_instructions, by_scores, load_judging_model, read_instructions

    told = _teller()
    folder = find_reward_model(name)
    if folder is not None:
        if instructions or constitution:
            raise UserError(f"{name} is a reward model, which reads no instructions")
        model = load_judging_model(folder, Runtime(), allow_remote_code=allow_remote_code)
        return by_scores(*model, undecided=0.0, progress=told)
    said = read_instructions(str(instructions or "") or None, str(constitution or "") or None)
    reader = LocalModel(open_writer(find_policy(name), allow_remote_code=allow_remote_code), name=name)
    return by_instructions(reader, said, manner, seed, told)


def _teller() -> Callable[[str, int, int], None]:
    """Says on standard error how far a long piece of work is, every few seconds, with the time left."""
    began, told = time.monotonic(), time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal began, told
        now = time.monotonic()
        if done <= 1:
            began = now
        if now - told >= SECONDS_BETWEEN_LINES and done:
            told = now
            left = (now - began) / done * (total - done)
            typer.echo(f"{what}: {done} of {total}, {left:.0f} s left", err=True)

    return tell


def _by_kind(tried: list[Any]) -> dict[str, Estimate]:
    """Share of attacks that succeed, of all and by kind; intervals are clustered by pair."""
    from trimtab.evaluation.statistics import clustered_proportion

    kinds = {"all": tried} | {kind: [one for one in tried if one.kind == kind] for kind in {one.kind for one in tried}}
    return {
        kind: clustered_proportion([float(one.succeeded) for one in several], [one.pair for one in several])
        for kind, several in kinds.items()
        if several
    }


def _show(report: JudgeReport, attacked: dict[str, Estimate]) -> None:
    from trimtab.evaluation.format import estimate_text

    def line(name: str, one: Estimate | None, note: str = "") -> None:
        if one is not None:
            typer.echo(f"{name:<44} {estimate_text(one, 'share')}, n = {one.n}{note}")

    line("right, of what it decided", report.accuracy, "" if report.beats_chance else "  (does not beat guessing)")
    line("decided", report.decided)
    for why, count in report.left_out.items():
        typer.echo(f"  left out, {why}: {count}")
    line("two people agree", report.agreement)
    line("prefers whatever stands in front", report.front, "  (50 % is fair)")
    line("same answer in both orders", report.steady)
    line("takes the longer answer", report.longer)
    line("people take the longer answer", report.people_longer)
    if report.calibration_error is not None:
        typer.echo(f"{'gap between confidence and being right':<44} {100 * report.calibration_error:.0f} points")
        for one in report.calibration:
            line(f"  {100 * one.confidence:.0f} % sure: right", one.right)
    if attacked:
        line("fooled by an answer that says what to say", attacked["all"])
        for kind in sorted(set(attacked) - {"all"}):
            line(f"  {kind}", attacked[kind])
