"""`trimtab status`: what is finished and what is under way, in one store or in all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import Json

if TYPE_CHECKING:
    from trimtab.pipeline.status import StoreStatus


def status_command(
    store: Annotated[Path, typer.Argument(help="A run's folder, or a folder of runs.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show which stages are finished, which are under way and how far, and where they lie."""
    from trimtab.pipeline.status import status_of

    stores = status_of(store)
    if as_json:
        typer.echo(json.dumps([_as_json(one) for one in stores], ensure_ascii=False, indent=2))
        return
    for one in stores:
        _show(one)


def _as_json(store: StoreStatus) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(store), "folder": str(store.folder)}


def _show(store: StoreStatus) -> None:
    from rich.console import Console
    from rich.table import Table

    from trimtab.cli.console import duration

    title = f"{store.folder} ({'a run is at work' if store.running else 'no run is at work'})"
    table = Table("Stage", "Kind", "Status", title=title, title_justify="left")
    table.add_column("Time", justify="right")
    table.add_column("Folder")
    for one in store.stages:
        table.add_row(one.name, one.kind, one.progress, duration(one.seconds), one.folder)
    Console(highlight=False, markup=False, emoji=False).print(table)
