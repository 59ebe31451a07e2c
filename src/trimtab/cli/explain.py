"""`trimtab explain`: what the settings of a recipe mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import Json

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.config.explain import Setting


def explain_command(
    name: Annotated[
        str | None, typer.Argument(help="A kind of stage (ppo), a setting (ppo.kl_coef, kl_coef), or runtime.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain the settings of recipes: their defaults, limits and meaning."""
    from rich.console import Console

    from trimtab.config.explain import find, groups, kinds, top_level

    console = Console(highlight=False, markup=False, emoji=False)
    if name is None or name == "kind":
        if as_json:
            typer.echo(json.dumps([{"kind": kind, "meaning": meaning} for kind, meaning in kinds().items()], indent=2))
        else:
            _show_kinds(console, kinds(), top_level())
        return
    found = find(name)
    if as_json:
        typer.echo(json.dumps([_as_json(setting) for setting in found], ensure_ascii=False, indent=2))
    elif name in groups():
        _show_group(console, name, found)
    else:
        _show_settings(console, found)


def _as_json(setting: Setting) -> dict[str, Any]:
    return {
        "setting": setting.name,
        "values": setting.values,
        "required": setting.required,
        "default": setting.default,
        "meaning": setting.meaning,
        "notes": setting.notes,
    }


def _show_kinds(console: Console, kinds: dict[str, str], top_level: Sequence[Setting]) -> None:
    from rich.table import Table

    table = Table("Kind of stage", "What it does")
    for kind, meaning in kinds.items():
        table.add_row(kind, meaning)
    console.print(table)
    table = Table("Beside the stages", "What it is")
    for setting in top_level:
        table.add_row(setting.name, setting.meaning)
    console.print(table)
    console.print("Go on with, for example: trimtab explain ppo")


def _show_group(console: Console, name: str, settings: Sequence[Setting]) -> None:
    """All settings of a kind of stage, or of the runtime, one a row."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from trimtab.config.explain import groups, kinds

    console.print(Text.assemble((name, "bold"), f"  {groups()[name]}"))
    table = Table("Setting", "Default", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Meaning", overflow="fold")
    for setting in settings:
        said = setting.values not in ("text", "true or false")
        meaning = Text.assemble(setting.meaning, (f" ({setting.values})" if said else "", "dim"))
        table.add_row(setting.path, _default(setting, short=True), meaning)
    console.print(table)
    stage = "STAGE" if name in kinds() else name
    console.print(f"To change one: trimtab run RECIPE {stage}.{settings[0].path}=VALUE")
    if stage != name:
        console.print(f"STAGE is what the recipe calls its stage of kind {name}.")


def _show_settings(console: Console, settings: Sequence[Setting]) -> None:
    """Each setting by itself; stages that mean the same by one share a block."""
    alike: dict[tuple[Any, ...], list[Setting]] = {}
    for one in settings:
        alike.setdefault((one.path, one.values, _default(one), one.meaning, one.notes), []).append(one)
    for number, same in enumerate(alike.values()):
        if number:
            console.print()
        one = same[0]
        console.print(", ".join(setting.name for setting in same), style="bold")
        for text in (one.meaning, *one.notes):
            console.print(f"  {text}")
        console.print(f"  default  {_default(one)}")
        console.print(f"  values   {one.values}")


def _default(setting: Setting, short: bool = False) -> str:
    """The default as a recipe would write it."""
    if setting.required:
        return "required"
    if setting.default in ("", {}):
        return "empty"
    if isinstance(setting.default, dict):
        return "as below" if short else ", ".join(f"{name} {value}" for name, value in setting.default.items())
    return json.dumps(setting.default) if not isinstance(setting.default, str) else setting.default
