"""`trimtab report`: where the report is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import Json, Overrides, Store
from trimtab.errors import UserError

if TYPE_CHECKING:
    from trimtab.pipeline.artifacts import Artifact


def report_command(
    source: Annotated[Path, typer.Argument(metavar="RECIPE_OR_STORE", help="A recipe, or the folder of its run.")],
    overrides: Overrides = None,
    store: Store = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser too.")] = False,
    as_json: Json = False,
) -> None:
    """Print the path of a recipe's report as the recipe is now, or of the newest report in a run's folder."""
    from trimtab.pipeline.artifacts import REPORT

    if source.is_dir() and overrides:
        raise UserError(f"{overrides[0]} is a setting of a recipe, and {source} is a folder; give the recipe instead")
    report = _newest(store or source) if source.is_dir() else _of_recipe(source, overrides or (), store)
    page = (report.path / REPORT).resolve()
    if as_json:
        typer.echo(json.dumps({"report": str(page), "created": report.record.created}))
    else:
        typer.echo(page)
    if show:
        typer.launch(page.as_uri())


def _newest(folder: Path) -> Artifact:
    reports = _reports_in(folder)
    if not reports:
        raise UserError(f"there is no report in {folder} yet. Make it with: trimtab run RECIPE")
    return reports[-1]


def _of_recipe(recipe: Path, overrides: Sequence[str], store: Path | None) -> Artifact:
    from trimtab.cli.run import command_line
    from trimtab.config import load_recipe
    from trimtab.pipeline.artifacts import read_artifact
    from trimtab.pipeline.runner import default_store, plan

    loaded = load_recipe(recipe, overrides)
    folder = store or default_store(loaded)
    reports = [stage for stage in plan(loaded, folder) if stage.kind == "report"]
    if not reports:
        raise UserError(f"{recipe} has no stage of kind report, so a run of it makes none")
    if reports[-1].status == "done":
        return read_artifact(reports[-1].folder)
    other = f"\nThe newest of other settings or data: trimtab report {folder}" if _reports_in(folder) else ""
    raise UserError(
        f"there is no report in {folder} yet of {recipe} as it is now. "
        f"Make it with: {command_line(recipe, overrides, store)}{other}"
    )


def _reports_in(folder: Path) -> list[Artifact]:
    from trimtab.pipeline.artifacts import artifacts_in

    return [artifact for artifact in artifacts_in(folder) if artifact.kind == "report"]
