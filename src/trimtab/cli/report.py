"""`trimtab report`: where the report is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import Json, Store


def report_command(
    source: Annotated[Path, typer.Argument(metavar="RECIPE_OR_STORE", help="A recipe, or the folder of its run.")],
    store: Store = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser too.")] = False,
    as_json: Json = False,
) -> None:
    """Print the path of a run's newest report."""
    from trimtab.errors import UserError
    from trimtab.pipeline.artifacts import REPORT, artifacts_in

    folder = store or (source if source.is_dir() else Path("runs") / source.stem)
    reports = [one for one in artifacts_in(folder) if one.kind == "report"]
    if not reports:
        recipe = "RECIPE" if source.is_dir() else str(source)
        raise UserError(f"there is no report in {folder} yet. Make it with: trimtab run {recipe}")
    page = (reports[-1].path / REPORT).resolve()
    if as_json:
        typer.echo(json.dumps({"report": str(page), "created": reports[-1].record.created}))
    else:
        typer.echo(page)
    if show:
        typer.launch(page.as_uri())
