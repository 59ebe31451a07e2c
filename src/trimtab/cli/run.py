"""`trimtab run`: do what is missing of a recipe."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import Json, Overrides, Recipe, Store

if TYPE_CHECKING:
    from trimtab.pipeline.artifacts import Artifact
    from trimtab.pipeline.runner import Finished


def run_command(
    recipe: Recipe,
    overrides: Overrides = None,
    store: Store = None,
    until: Annotated[str | None, typer.Option(metavar="STAGE", help="Run this stage and what it needs.")] = None,
    as_json: Json = False,
) -> None:
    """Run a recipe: do what is missing, go on where it was stopped, skip what is finished."""
    from trimtab.cli.console import reporter_for
    from trimtab.cli.libraries import settle_libraries
    from trimtab.config import load_recipe
    from trimtab.errors import Interrupted
    from trimtab.pipeline.runner import default_store, run
    from trimtab.pipeline.stopping import stop_on_signals

    settle_libraries()
    loaded = load_recipe(recipe, overrides or ())
    folder = store or default_store(loaded)
    command = command_line(recipe, overrides or (), store, until)
    with reporter_for(as_json) as reporter, stop_on_signals(reporter.say) as stop:
        try:
            finished = run(loaded, folder, until=until, command=command, reporter=reporter, stop=stop)
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped at once; the state saved last is kept.\nGo on with: {command}") from None
    if as_json:
        typer.echo(json.dumps(_as_json(folder, finished), ensure_ascii=False, indent=2))
    else:
        _show(finished)


def command_line(recipe: Path, overrides: Sequence[str], store: Path | None, until: str | None = None) -> str:
    """The command as it was given, for the report and for going on."""
    options = ["--store", str(store)] if store else []
    options += ["--until", until] if until else []
    return shlex.join(["trimtab", "run", str(recipe), *overrides, *options])


def _report_of(artifacts: Sequence[Artifact]) -> Path | None:
    from trimtab.pipeline.artifacts import REPORT

    pages = [artifact.path / REPORT for artifact in artifacts if artifact.kind == "report"]
    return pages[-1] if pages else None


def _as_json(store: Path, finished: Sequence[Finished]) -> dict[str, Any]:
    stages = [
        {
            "name": one.artifact.name,
            "kind": one.artifact.kind,
            "key": one.artifact.key,
            "folder": str(one.artifact.path),
            "ran": one.ran,
            "seconds": one.artifact.record.seconds,
            "summary": one.artifact.record.summary,
        }
        for one in finished
    ]
    report = _report_of([one.artifact for one in finished])
    return {"store": str(store.resolve()), "stages": stages, "report": str(report) if report else None}


def _show(finished: Sequence[Finished]) -> None:
    """The stages with their times, the before/after table, the way to the report."""
    from rich.console import Console
    from rich.table import Table

    from trimtab.cli.console import duration, evaluation_table

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table("Stage", "Kind", "Result")
    table.add_column("Time", justify="right")
    for one in finished:
        artifact = one.artifact
        table.add_row(
            artifact.name, artifact.kind, "made" if one.ran else "was there", duration(artifact.record.seconds)
        )
    console.print(table)
    for artifact in (one.artifact for one in finished if one.artifact.kind == "evaluation"):
        evaluation = json.loads((artifact.path / "evaluation.json").read_text(encoding="utf-8"))
        console.print(evaluation_table(evaluation))
    report = _report_of([one.artifact for one in finished])
    if report is not None:
        console.print(f"Report: {report}", soft_wrap=True)
