"""`trimtab judge`: how good a judge is, on comparisons that people labelled and against answers that try to fool it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AllowRemoteCode, Json

if TYPE_CHECKING:
    from trimtab.config import JudgeStage
    from trimtab.evaluation.injection_measures import InjectionReport
    from trimtab.evaluation.judge_measures import JudgeReport
    from trimtab.evaluation.statistics import Estimate
    from trimtab.pipeline.judges import Judge


def judge_command(
    context: typer.Context,
    data: Annotated[str, typer.Argument(help="Comparisons that people labelled.")],
    judge: Annotated[str, typer.Option(help="The judge: a model, or a reward model's folder or stage.")],
    base_url: Annotated[
        str | None, typer.Option(help="A server that speaks OpenAI's chat API; --judge is its name for the model.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="The environment variable that holds the server's key; empty to send none.")
    ] = None,
    calls: Annotated[Path, typer.Option(help="Where calls to the server are kept, and not paid for again.")] = Path(
        "judge-calls.jsonl"
    ),
    max_calls: Annotated[int | None, typer.Option(help="Stop before more calls than this.")] = None,
    price_input: Annotated[float | None, typer.Option(help="Price of a million tokens read.")] = None,
    price_output: Annotated[float | None, typer.Option(help="Price of a million tokens written.")] = None,
    max_spend: Annotated[float | None, typer.Option(help="Stop before more than this is spent.")] = None,
    top_logprobs: Annotated[
        int | None, typer.Option(help="How many likeliest tokens the server is asked to tell of; 0 asks for none.")
    ] = None,
    hard_answers: Annotated[
        bool | None, typer.Option(help="Take the letter it writes where the server tells no log-probabilities.")
    ] = None,
    instructions: Annotated[str | None, typer.Option(help="What it goes by, a text file.")] = None,
    constitution: Annotated[str | None, typer.Option(help="Principles to ask it about, a YAML file.")] = None,
    ask: Annotated[str | None, typer.Option(help="Of several questions: all, or one drawn for each prompt.")] = None,
    own: Annotated[
        str | None, typer.Option(help="Answers the judge itself wrote (demonstrations): does it favour them?")
    ] = None,
    thinking: Annotated[int | None, typer.Option(help="Tokens of reasons before it decides.")] = None,
    clamp: Annotated[
        tuple[float, float] | None, typer.Option(help="Limits of a probability that follows reasons.")
    ] = None,
    undecided: Annotated[
        float | None, typer.Option(help="A probability nearer to 1/2 than this is no judgement.")
    ] = None,
    disagreement: Annotated[
        float | None, typer.Option(help="Nor is one whose two orders differ by more than this.")
    ] = None,
    least_mass: Annotated[
        float | None, typer.Option(help="Probability both letters must have, or the answer is malformed.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at this many comparisons only.")] = None,
    injections: Annotated[bool, typer.Option(help="Try answers that tell the judge what to say, too.")] = True,
    fence: Annotated[bool, typer.Option(help="Set answers apart with marks that they cannot know.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Draws marks and questions.")] = 0,
    as_json: Json = False,
    allow_remote_code: AllowRemoteCode = False,
) -> None:
    """Measure a judge: accuracy beside guessing and beside people, leanings to a place and to length, calibration.

    What is not given is as in a stage of kind judge.
    """
    from trimtab.cli.libraries import settle_libraries

    settle_libraries()
    from itertools import islice

    from trimtab.data.formats import read_comparisons, read_demonstrations
    from trimtab.evaluation.injection_measures import injection_report
    from trimtab.feedback.injections import attack
    from trimtab.pipeline.judges import measure_judge

    config = _as_stage(context.params)
    comparisons = list(islice(read_comparisons(data), limit))
    if config.endpoint is None:
        opened = _local(config, seed, fence)
    else:
        opened = _remote(config, calls, seed, fence, len(comparisons), injections)
    wrote = frozenset((one.prompt, one.response) for one in read_demonstrations(own)) if own else frozenset()
    report = measure_judge(opened, comparisons, wrote)
    attacked = injection_report(attack(opened)) if injections else None
    if as_json:
        plain = {"judge": judge, "data": data, **report.to_json()}
        plain["injections"] = attacked.to_json() if attacked is not None else None
        typer.echo(json.dumps(plain, ensure_ascii=False, indent=2))
    else:
        _show(report, attacked)


def _as_stage(given: dict[str, Any]) -> JudgeStage:
    """The options as the settings of a stage, whose defaults and checks they share. Raises `UserError`."""
    from pydantic import ValidationError

    from trimtab.config import JudgeStage
    from trimtab.config.endpoint import EndpointSettings
    from trimtab.errors import UserError

    if not given["judge"].strip():
        raise UserError("--judge is empty: name a model, a reward model's folder or stage, or a server's model")
    settings = {name: given[name] for name in JudgeStage.model_fields if given.get(name) is not None}
    if given["base_url"] is not None:
        server = {name: given[name] for name in EndpointSettings.model_fields if given.get(name) is not None}
        if given["api_key_env"] == "":
            server["api_key_env"] = None
        settings["endpoint"] = {**server, "model": settings.pop("judge")}
    try:
        return JudgeStage.model_validate(settings)
    except ValidationError as error:
        raise UserError("\n".join(_option_told(one) for one in error.errors())) from None


def _option_told(detail: Any) -> str:
    """A setting's mistake, told of the option it comes from. What was given is not repeated: it may be a secret."""
    name = next((str(part) for part in reversed(detail["loc"]) if isinstance(part, str)), "")
    message = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    if name in ("", "endpoint"):  # of several options together, which the message names
        return message
    return f"--{name.replace('_', '-')}: {message[0].lower()}{message[1:]}"


def _local(config: JudgeStage, seed: int, fence: bool) -> Judge:
    """The judge of this name: a reward model where the folder holds one, else a model that reads instructions."""
    from trimtab.cli.console import progress_lines
    from trimtab.cli.writers import open_writer
    from trimtab.config import Runtime
    from trimtab.errors import UserError
    from trimtab.feedback.instructions import read_instructions
    from trimtab.generation.local import LocalModel
    from trimtab.pipeline.find import find_policy, find_reward_model
    from trimtab.pipeline.judges import by_instructions, by_scores, manner_of
    from trimtab.pipeline.resolve import load_scorer

    name, told = str(config.judge), progress_lines()
    folder = find_reward_model(name)
    if folder is not None:
        if config.instructions or config.constitution:
            raise UserError(f"{name} is a reward model, which reads no instructions: leave them and constitution out")
        model = load_scorer(folder, Runtime(), allow_remote_code=config.allow_remote_code)
        return by_scores(*model, undecided=config.undecided, progress=told)
    instructions = read_instructions(config.instructions, config.constitution)
    reader = LocalModel(open_writer(find_policy(name), allow_remote_code=config.allow_remote_code), name=name)
    return by_instructions(reader, instructions, manner_of(config, fence=fence), seed, told)


def _remote(config: JudgeStage, calls: Path, seed: int, fence: bool, comparisons: int, injections: bool) -> Judge:
    """The judge behind a server. Says how many calls are to come."""
    from trimtab.cli.console import progress_lines
    from trimtab.feedback.injections import most_pairs
    from trimtab.feedback.instructions import read_instructions
    from trimtab.feedback.judge import requests_for
    from trimtab.pipeline.judges import by_instructions, manner_of
    from trimtab.pipeline.resolve import open_endpoint

    assert config.endpoint is not None
    instructions, manner = read_instructions(config.instructions, config.constitution), manner_of(config, fence=fence)
    wanted = f"{requests_for(comparisons, instructions, manner):,} calls for {comparisons:,} comparisons"
    if injections:
        wanted += f", and at most {requests_for(most_pairs(), instructions, manner):,} to try injections"
    typer.echo(
        f"{config.endpoint.model} at {config.endpoint.base_url}: {wanted}. Those that {calls} has are not made again",
        err=True,
    )
    return by_instructions(open_endpoint(config.endpoint, calls), instructions, manner, seed, progress_lines())


def _show(report: JudgeReport, attacked: InjectionReport | None) -> None:
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
    line("agrees with one person", report.with_one)
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
    if attacked is not None:
        told("easy pairs it knows, that attacks are tried on", f"{attacked.known} of {attacked.pairs}")
        line("fooled by an answer that says what to say", attacked.overall)
        for kind, found in attacked.by_kind.items():
            line(f"  {kind}", found)
