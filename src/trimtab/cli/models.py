"""`trimtab models`: the models that come with trimtab, and fetching one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import Json
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.models.bundled import BundledModel

app = typer.Typer(help="The models that come with trimtab.", invoke_without_command=True)


@app.callback()
def models_command(context: typer.Context, as_json: Json = False) -> None:
    """List the models that come with trimtab: what they are, their licences, and where they lie."""
    if context.invoked_subcommand is not None:
        return
    from trimtab.models.bundled import BUNDLED

    if as_json:
        typer.echo(json.dumps([_as_json(model) for model in BUNDLED.values()], ensure_ascii=False, indent=2))
    else:
        _show(list(BUNDLED.values()))


@app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="One of the models that `trimtab models` lists.")],
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="Accept the model's licence.")] = False,
) -> None:
    """Download a model, convert and check it once, and print its folder."""
    from trimtab.cli.libraries import settle_libraries
    from trimtab.config.recipe import nearest
    from trimtab.models.bundled import BUNDLED, fetch, is_cached

    if name not in BUNDLED:
        raise ModelError(f"no model of that name comes with trimtab: {name!r}{nearest(name, BUNDLED)}")
    model = BUNDLED[name]
    _say(f"{name}: {model.description}")
    _say(f"licence: {model.licence}, {model.licence_url}")
    if is_cached(model):
        _say("it is in the cache already")
    settle_libraries()
    typer.echo(fetch(model, accept_licence=accept_licence, say=_say))


def _as_json(model: BundledModel) -> dict[str, Any]:
    from trimtab.models.bundled import cached_folder, is_cached

    fields = ("name", "description", "licence", "licence_url", "must_accept_licence")
    plain = {field: getattr(model, field) for field in fields}
    return plain | {"cached": is_cached(model), "folder": str(cached_folder(model))}


def _show(models: list[BundledModel]) -> None:
    from rich.console import Console
    from rich.table import Table

    from trimtab.models.bundled import cached_folder, is_cached

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table("Model", "What it is", "Licence", "Cached")
    for model in models:
        table.add_row(model.name, model.description, model.licence, "yes" if is_cached(model) else "no")
    console.print(table)
    for model in models:
        accept = " --accept-licence" if model.must_accept_licence else ""
        fetch = f"trimtab models fetch {model.name}{accept}"
        where = f"in {cached_folder(model)}" if is_cached(model) else f"get it with: {fetch}"
        console.print(f"{model.name}: {where}", soft_wrap=True)
        console.print(f"  licence: {model.licence_url}", soft_wrap=True)


def _say(text: str) -> None:
    """A line beside the output, which is the folder alone."""
    print(text, file=sys.stderr, flush=True)
