"""`trimtab constitution`: read a constitution, and give a person's verdicts on what a model made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import Json
from trimtab.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.labelling.revision_review import Question, Reviewed

app = typer.Typer(help="Principles by which a model criticises and revises its answers.", no_args_is_help=True)
VERDICTS = "verdicts.jsonl"


@app.command("show")
def show_command(
    file: Annotated[Path, typer.Argument(help="The constitution, a YAML file.")], as_json: Json = False
) -> None:
    """Check a constitution and print its principles."""
    from dataclasses import asdict

    from trimtab.feedback.constitution import read_constitution

    constitution = read_constitution(file)
    if as_json:
        typer.echo(json.dumps(asdict(constitution), ensure_ascii=False, indent=2))
        return
    typer.echo(f"{constitution.title} (version {constitution.version}, {len(constitution.principles)} principles)")
    for principle in constitution.principles:
        typer.echo(f"\n{principle.id}  [{principle.source}]")
        typer.echo(f"  critique: {principle.critique}\n  revision: {principle.revision}")
        typer.echo(f"  comparison: {principle.comparison}")


@app.command("review")
def review_command(
    source: Annotated[
        Path, typer.Argument(metavar="CHAINS", help="chains.jsonl, the folder it lies in, or the folder of a run.")
    ],
    sample: Annotated[int, typer.Option(min=1, help="How many revisions to look at.")] = 20,
    reviewer: Annotated[str, typer.Option(help="Your name or a number, to tell reviewers apart.")] = "me",
    seed: Annotated[int, typer.Option(help="Which ones are drawn; the same seed shows others the same ones.")] = 0,
    verdicts: Annotated[
        Path | None, typer.Option(help="Where verdicts are kept; verdicts.jsonl where you are if not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at critiques and revisions one by one and say what they are worth. Stop with q, go on later.

    With --json nothing is asked: it prints what the verdicts so far come to.
    """
    from trimtab.labelling.revision_review import add_verdict, fingerprint, good_shares, read_verdicts, sample_rounds

    rows = _chains(source)
    path = verdicts or Path(VERDICTS)
    given = read_verdicts(path)
    if not as_json:
        done = {one.texts for one in given if one.reviewer == reviewer}
        drawn = sample_rounds(rows, sample, seed)
        waiting = [(row, place) for row, place in drawn if fingerprint(row, place) not in done]
        for number, (row, place) in enumerate(waiting, start=len(drawn) - len(waiting) + 1):
            verdict = _ask(row, place, reviewer, f"{number} of {len(drawn)}")
            if verdict is None:
                break
            add_verdict(path, verdict)
            given.append(verdict)
    known = {fingerprint(row, place) for row in rows for place in range(len(row["rounds"]))}
    mine = [one for one in given if one.texts in known]
    shares = good_shares(mine)
    if as_json:
        counted = {name: estimate.to_json() for name, estimate in shares.items()}
        typer.echo(json.dumps({"verdicts": len(mine), "reviewers": len({v.reviewer for v in mine}), "shares": counted}))
    else:
        _summarise(shares, len(mine), path)


def _chains(source: Path) -> list[Mapping[str, Any]]:
    """The rows of a file of chains, of the newest one when a run's folder is given."""
    from trimtab.labelling.revision_review import read_chains
    from trimtab.pipeline.artifacts import CHAINS, artifacts_in

    file = source
    if source.is_dir():
        found = [source / CHAINS] if (source / CHAINS).is_file() else []
        found = found or [one.path / CHAINS for one in artifacts_in(source) if (one.path / CHAINS).is_file()]
        if not found:
            raise UserError(f"there is no {CHAINS} in {source}. A stage of kind revise makes it: trimtab run RECIPE")
        file = found[-1]
    return read_chains(file)


def _ask(row: Mapping[str, Any], place: int, reviewer: str, where: str) -> Reviewed | None:
    """One reviewer's verdict on one round; None when they have had enough."""
    from rich.console import Console

    from trimtab.labelling.revision_review import QUESTIONS, Reviewed, fingerprint, texts_of

    console = Console(highlight=False, stderr=True)
    one = row["rounds"][place]
    before, critique, revision = texts_of(row, place)
    prompt = "\n".join(turn["content"] for turn in row["prompt"])
    console.rule(f"{where} · {row['id']}, round {place + 1} · {one['principle']}")
    _print(console, {"request": prompt, "answer before": before, "critique": critique, "revision": revision})
    answers = {}
    for question in QUESTIONS:
        answer = _choose(question)
        if answer is None:
            return None
        answers[question.name] = answer
    return Reviewed(row["id"], place + 1, fingerprint(row, place), reviewer, one["kept"], answers)


def _print(console: Console, texts: Mapping[str, str]) -> None:
    from rich.text import Text

    from trimtab.cli.wrap import printable

    for name, text in texts.items():
        console.print(Text(f"{name}: ", style="bold") + Text(printable(text) or "(nothing)"))
        console.print()


def _choose(question: Question) -> str | None:
    keys = ", ".join(f"{key} {answer}" for key, answer in question.answers.items())
    while True:
        try:
            key = input(f"{question.text} [{keys}, q stop] ").strip().lower()
        except EOFError:
            return None
        if key == "q":
            return None
        if key in question.answers:
            return question.answers[key]
        typer.echo(f"Type one of: {', '.join([*question.answers, 'q'])}")


def _summarise(shares: Mapping[str, Any], number: int, path: Path) -> None:
    from trimtab.evaluation.format import estimate_text
    from trimtab.labelling.revision_review import QUESTIONS

    if not shares:
        typer.echo("No verdicts yet.")
        return
    typer.echo(f"{number} verdicts in {path}:")
    for question in QUESTIONS:
        typer.echo(f"  {question.text} {question.good}: {estimate_text(shares[question.name], 'share')}")
