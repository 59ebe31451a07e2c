"""`trimtab plan`: what a run of a recipe would do."""

from __future__ import annotations

import json

import typer

from trimtab.cli.options import Json, Overrides, Recipe, Store


def plan_command(recipe: Recipe, overrides: Overrides = None, store: Store = None, as_json: Json = False) -> None:
    """Show the stages of a recipe in running order: what is finished, what can be gone on with, what is missing."""
    from rich.console import Console
    from rich.table import Table

    from trimtab.config import load_recipe
    from trimtab.pipeline.artifacts import KEY_CHARACTERS
    from trimtab.pipeline.runner import default_store, plan

    loaded = load_recipe(recipe, overrides or ())
    folder = store or default_store(loaded)
    stages = plan(loaded, folder)
    if as_json:
        fields = ("name", "kind", "status", "key", "inputs")
        plain = [{field: getattr(one, field) for field in fields} | {"folder": str(one.folder)} for one in stages]
        typer.echo(json.dumps({"store": str(folder.resolve()), "stages": plain}, ensure_ascii=False, indent=2))
        return
    table = Table("Stage", "Kind", "Status", "Key", "Inputs", caption=f"Artifacts in {folder}", caption_justify="left")
    for one in stages:
        inputs = ", ".join(dict.fromkeys(one.inputs.values()))
        table.add_row(one.name, one.kind, one.status, one.key[:KEY_CHARACTERS], inputs)
    Console(highlight=False, markup=False, emoji=False).print(table)
