"""`trimtab data`: look at a data file before training on it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.data.chat import ChatTemplate
    from trimtab.data.check import Example, Report
    from trimtab.data.files import Watch

app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)

_EXAMPLE_CHARACTERS = 2000
_LISTED = 20


@app.callback()
def _data() -> None:
    """Look at data before training on it."""


@app.command("check")
def check_command(
    file: Annotated[str, typer.Argument(help="A file, a folder, or hf:owner/name:split.")],
    model: Annotated[str | None, typer.Option(help="Count its tokens and render with its template.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Bad rows are listed but are no failure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    columns: Annotated[list[str] | None, typer.Option(help="Rename a column, as prompt=question; repeatable.")] = None,
) -> None:
    """Show the format, lengths, duplicates, contradictions, the first example as trained on, and every bad row."""
    from trimtab.data.check import check
    from trimtab.data.formats import read

    template = _template(model)
    with listening() as watch:
        report = check(read(file, columns=renames(columns or []), watch=watch), template)
    if as_json:
        text = json.dumps(_as_json(report), ensure_ascii=False, indent=2)
        typer.echo(text.encode("utf-8", "backslashreplace").decode())  # half a surrogate pair, as JSON writes it
    else:
        _show(report)
    if report.bad and not skip_bad:
        raise typer.Exit(1)


@contextmanager
def listening() -> Iterator[Watch]:
    """A bar with the time left, beside the output, for as long as it takes. None where nobody looks."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("reading", total=1.0)
        yield lambda share: bars.update(task, completed=share)


def renames(options: list[str]) -> dict[str, str]:
    """Options such as prompt=question as the mapping of columns."""
    found: dict[str, str] = {}
    for option in options:
        ours, _, theirs = option.partition("=")
        if not ours or not theirs:
            raise UserError(f"--columns {option}: write OURS=THEIRS, such as --columns prompt=question.")
        found[ours] = theirs
    return found


def _template(model: str | None) -> ChatTemplate | None:
    if model is None:
        return None
    from trimtab.data.chat import ChatTemplate
    from trimtab.models.registry import load_tokenizer
    from trimtab.pipeline.find import find_policy

    return ChatTemplate(load_tokenizer(find_policy(model)))


def _as_json(report: Report) -> dict[str, Any]:
    plain = dataclasses.asdict(report)
    plain["bad"] = [{"file": b.place.file, b.place.unit: b.line, "reason": b.reason} for b in report.bad]
    if not report.not_listed:
        del plain["not_listed"]
    return plain


def _show(report: Report) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(f"[bold]{safe(report.source)}[/]")
    console.print(f"format     {report.format} ({report.kind})")
    console.print(f"columns    {safe(', '.join(report.columns))}")
    console.print(
        f"rows       {report.rows}, of these {_number(report, 'bad')} bad; {report.records} records, "
        f"{report.distinct_prompts} different prompts"
    )
    _show_lengths(console, report)
    _show_places(console, "Rows that repeat an earlier row", report, "duplicates")
    _show_places(console, "Comparisons that contradict an earlier one", report, "contradictions")
    for place, length in report.long_rows[:_LISTED]:
        console.print(f"[yellow]Very long row[/] {safe(str(place))}: {length:,} characters")
    for example in report.examples:
        _show_example(console, example)
    _show_bad(console, report)


def _show_lengths(console: Console, report: Report) -> None:
    from rich.table import Table

    table = Table(title=f"Lengths in {report.unit}", title_justify="left")
    table.add_column("")
    for name in next(iter(report.lengths.values()), {}):
        table.add_column(name, justify="right")
    for name, quantiles in report.lengths.items():
        table.add_row(name, *(f"{value:,}" for value in quantiles.values()))
    if report.lengths:
        console.print(table)


def _number(report: Report, name: str) -> int:
    """How many findings of a sort there are, listed or not."""
    return len(getattr(report, name)) + report.not_listed.get(name, 0)


def _show_places(console: Console, title: str, report: Report, name: str) -> None:
    found, number = getattr(report, name), _number(report, name)
    console.print(f"{title}: {number}")
    for first, again in found[:_LISTED]:
        console.print(f"  {again.unit} {again.number} and {first.unit} {first.number}")
    if number > _LISTED:
        all_of_them = "them all" if number == len(found) else f"the first {len(found):,}"
        console.print(f"  and {number - _LISTED} more (--json lists {all_of_them})")


def _show_example(console: Console, example: Example) -> None:
    from rich.text import Text

    from trimtab.cli.wrap import printable

    supervised = "".join(text for text, trained in example.pieces if trained)
    before = "".join(text for text, trained in example.pieces if not trained)
    console.print(f"\n[bold]First example, {example.title}[/]; the loss sees only what is between ⟦ and ⟧")
    shown = Text(printable(_shortened(before)), style="dim")
    if supervised:
        shown.append(f"⟦{printable(_shortened(supervised))}⟧", style="bold green not dim")
    console.print(shown)


def safe(text: str) -> str:
    """Text from data, for a console that reads markup."""
    from rich.markup import escape

    from trimtab.cli.wrap import printable

    return escape(printable(text))


def _shortened(text: str) -> str:
    if len(text) <= _EXAMPLE_CHARACTERS:
        return text
    half = _EXAMPLE_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half:,} characters … {text[-half:]}"


def _show_bad(console: Console, report: Report) -> None:
    if not report.bad:
        console.print("\n[green]Every row can be read.[/]")
        return
    console.print(f"\n[bold red]Bad rows: {_number(report, 'bad')}[/]")
    for bad in report.bad:
        console.print(f"  {safe(str(bad))}")
    if "bad" in report.not_listed:
        console.print(f"  and {report.not_listed['bad']} more")
    console.print("Mend these rows, or leave them out: --skip-bad, in a recipe's stage skip_bad: true.")
