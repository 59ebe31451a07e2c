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
    from trimtab.feedback.judge import Instructions
    from trimtab.generation.endpoint import Endpoint
    from trimtab.pipeline.judges import Judge

SECONDS_BETWEEN_LINES = 10.0


def judge_command(
    data: Annotated[str, typer.Argument(help="Comparisons that people labelled.")],
    judge: Annotated[str, typer.Option(help="The judge: a model, or a reward model's folder or stage.")],
    base_url: Annotated[
        str | None, typer.Option(help="A server that speaks OpenAI's chat API; --judge is its name for the model.")
    ] = None,
    calls: Annotated[Path, typer.Option(help="Where calls to the server are kept, and not paid for again.")] = Path(
        "judge-calls.jsonl"
    ),
    max_calls: Annotated[int | None, typer.Option(min=0, help="Stop before more calls than this.")] = None,
    instructions: Annotated[Path | None, typer.Option(help="What it goes by, a text file.")] = None,
    constitution: Annotated[Path | None, typer.Option(help="Principles to ask it about, a YAML file.")] = None,
    own: Annotated[
        str | None, typer.Option(help="Answers the judge itself wrote (demonstrations): does it favour them?")
    ] = None,
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

    from trimtab.data.formats import read_comparisons, read_demonstrations
    from trimtab.feedback.injections import attempts
    from trimtab.feedback.judge import Manner
    from trimtab.pipeline.judges import by_instructions, measure_judge

    comparisons = list(islice(read_comparisons(data), limit))
    manner = Manner(ask="all", thinking=thinking, least_mass=least_mass, fence=fence)
    if base_url is None:
        opened = _opened(judge, instructions, constitution, manner, seed, allow_remote_code)
    else:
        opened = by_instructions(
            _endpoint(base_url, judge, calls, max_calls), _told(instructions, constitution), manner, seed, _teller()
        )
    wrote = frozenset((one.prompt, one.response) for one in read_demonstrations(own)) if own else frozenset()
    report = measure_judge(opened, comparisons, wrote)
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
    from trimtab.pipeline.judges import by_instructions, by_scores, load_judging_model

    told = _teller()
    folder = find_reward_model(name)
    if folder is not None:
        if instructions or constitution:
            raise UserError(f"{name} is a reward model, which reads no instructions")
        model = load_judging_model(folder, Runtime(), allow_remote_code=allow_remote_code)
        return by_scores(*model, undecided=0.0, progress=told)
    reader = LocalModel(open_writer(find_policy(name), allow_remote_code=allow_remote_code), name=name)
    return by_instructions(reader, _told(instructions, constitution), manner, seed, told)


def _told(instructions: Path | None, constitution: Path | None) -> Instructions:
    """What the judge goes by, from the files that were named."""
    from trimtab.pipeline.judges import read_instructions

    return read_instructions(*(None if path is None else str(path) for path in (instructions, constitution)))


def _endpoint(base_url: str, model: str, calls: Path, max_calls: int | None) -> Endpoint:
    """The model behind a server. Raises `UserError` for an address with a secret in it, or that is none."""
    from pydantic import ValidationError

    from trimtab.config.endpoint import EndpointSettings
    from trimtab.errors import UserError
    from trimtab.pipeline.resolve import open_endpoint

    try:
        settings = EndpointSettings(base_url=base_url, model=model, max_calls=max_calls)
    except ValidationError as error:
        raise UserError(f"--base-url {error.errors()[0]['ctx']['error']}") from None
    return open_endpoint(settings, calls)


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
    """Share of attacks that succeed, of all and by kind; intervals are clustered by pair.

    Harmless words are a kind of their own, and are not among all: they tell what any words do.
    """
    from trimtab.evaluation.statistics import clustered_proportion
    from trimtab.feedback.injections import HARMLESS

    kinds = {"all": [one for one in tried if one.kind != HARMLESS]}
    kinds |= {kind: [one for one in tried if one.kind == kind] for kind in {one.kind for one in tried}}
    return {
        kind: clustered_proportion([float(one.succeeded) for one in several], [one.pair for one in several])
        for kind, several in kinds.items()
        if several
    }


def _show(report: JudgeReport, attacked: dict[str, Estimate]) -> None:
    from trimtab.evaluation.format import change_estimate_text, estimate_text

    def told(name: str, text: str) -> None:
        typer.echo(f"{name:<44} {text}")

    def line(name: str, one: Estimate | None, note: str = "") -> None:
        if one is not None:
            told(name, f"{estimate_text(one, 'share')}, n = {one.n}{note}")

    line("right, of what it decided", report.accuracy, "" if report.beats_chance else "  (does not beat guessing)")
    line("decided", report.decided)
    for why, count in report.left_out.items():
        typer.echo(f"  left out, {why}: {count}")
    line("two people agree", report.agreement)
    line("prefers whatever stands in front", report.front, "  (50 % is fair)")
    line("same answer in both orders", report.steady)
    line("takes the longer answer", report.longer)
    line("people take the longer answer", report.people_longer)
    if report.length_slope is not None:
        told("log-odds gained by twice the length", change_estimate_text(report.length_slope, "score"))
    if report.self_preference is not None:
        told("takes its own answers, beyond people", change_estimate_text(report.self_preference, "share"))
    line("probability of A and B together", report.mass)
    if report.calibration_error is not None:
        told("gap between confidence and being right", f"{100 * report.calibration_error:.0f} points")
        for one in report.calibration:
            line(f"  {100 * one.confidence:.0f} % sure: right", one.right)
    if attacked:
        line("fooled by an answer that says what to say", attacked["all"])
        for kind in sorted(set(attacked) - {"all"}):
            line(f"  {kind}", attacked[kind])
