"""`trimtab labels`: items and labels into a labelling project, and labels out of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.data import renames
from trimtab.cli.options import Json
from trimtab.errors import LabellingError

if TYPE_CHECKING:
    from trimtab.labelling.importing import Imported
    from trimtab.labelling.records import LabelledItem
    from trimtab.labelling.store import Store

app = typer.Typer(help="Take items and labels into a labelling project, and labels out of it.", no_args_is_help=True)

EXPORTS = {
    "jsonl": ".jsonl",
    "comparisons": ".jsonl",
    "trl": ".jsonl",
    "rankings": ".jsonl",
    "grades": ".jsonl",
    "demonstrations": ".jsonl",
    "red-team": ".jsonl",
    "argilla": "",
    "label-studio": ".json",
}
"""The formats that can be written, with the ending of the file; Argilla's is a folder."""

Project = Annotated[Path, typer.Argument(help="The project's folder.")]


@app.callback()
def _labels() -> None:
    """Take items and labels into a labelling project, and labels out of it."""


@app.command("import")
def import_command(
    project: Project,
    file: Annotated[Path, typer.Argument(help="labels.jsonl, an export of Argilla or Label Studio, or data.")],
    format: Annotated[
        str, typer.Option(help="auto, jsonl, trl, argilla, label-studio, comparisons or prompts.")
    ] = "auto",
    kind: Annotated[
        str, typer.Option(help="What people do with it: auto, compare, rank, grade, demonstrate, edit or red_team.")
    ] = "auto",
    gold: Annotated[str, typer.Option(help="Of rows with a plain answer, make known answers: 20, 10% or all.")] = "0",
    quiz: Annotated[str, typer.Option(help="The same for the quiz before labelling.")] = "0",
    seed: Annotated[int, typer.Option(min=0, help="Draws the gold and quiz items.")] = 0,
    columns: Annotated[list[str] | None, typer.Option(help="Rename a column, as prompt=question; repeatable.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rows out.")] = False,
    as_json: Json = False,
) -> None:
    """Put items and labels into a project. What data says of its responses is no label, but may become gold."""
    from trimtab.labelling.data_items import Amount
    from trimtab.labelling.importing import import_file
    from trimtab.labelling.store import Store

    found = import_file(
        Store.open(project),
        file,
        format=format,
        kind=kind,
        gold=Amount.parse(gold),
        quiz=Amount.parse(quiz),
        seed=seed,
        columns=renames(columns or []),
        skip_bad=skip_bad,
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=2))
    else:
        _show_imported(file, found)


@app.command("export")
def export_command(
    project: Project,
    out: Annotated[Path, typer.Option(help="The file to write, for Argilla a new folder.")],
    format: Annotated[str, typer.Option(help=f"{', '.join(EXPORTS)}.")] = "jsonl",
    kind: Annotated[str, typer.Option(help="Only items of this kind.")] = "all",
    aggregate: Annotated[
        str, typer.Option(help="From votes to one probability: soft, majority, dawid-skene or balanced.")
    ] = "soft",
    group: Annotated[str, typer.Option(help="The attribute between whose values votes are balanced.")] = "",
    margins: Annotated[bool, typer.Option("--margins", help="Comparisons with the margin 'by far' gives.")] = False,
    as_json: Json = False,
) -> None:
    """Write labels for training, for other tools, or whole (jsonl), and say how many went out and how many did not."""
    from trimtab.labelling.store import Store

    _check(format, out, kind, aggregate, group, margins)
    summary = _export(Store.open(project), out, format, kind, aggregate, group, margins)
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False, indent=2))
    else:
        _show_exported(out, summary)


def _check(format: str, out: Path, kind: str, aggregate: str, group: str, margins: bool) -> None:
    """Refuse what does not go together before anything is read."""
    from trimtab.labelling.importing import KINDS

    if kind not in ("all", *KINDS):
        raise LabellingError(f"there is no kind of item {kind!r}; there are {', '.join(KINDS)}, and all")
    if format not in EXPORTS:
        raise LabellingError(f"there is no format {format!r} to write; there are {', '.join(EXPORTS)}")
    if out.suffix != EXPORTS[format]:
        wanted = f"the ending {EXPORTS[format]}" if EXPORTS[format] else "no ending, as it is a folder"
        raise LabellingError(f"--out {out}: the format {format} has {wanted}")
    if format not in ("comparisons", "trl") and (aggregate != "soft" or margins):
        raise LabellingError("--aggregate and --margins are for --format comparisons and trl; others hold every label")
    if margins and format == "trl":
        raise LabellingError("TRL's columns have no margin: --margins is for --format comparisons")
    if (aggregate == "balanced") != bool(group):
        raise LabellingError("--aggregate balanced and --group ATTRIBUTE go together")


def _export(
    store: Store, out: Path, format: str, kind: str, aggregate: str, group: str, margins: bool
) -> dict[str, Any]:
    from trimtab.labelling import exporting
    from trimtab.labelling.aggregating import aggregation
    from trimtab.labelling.argilla_export import write_argilla
    from trimtab.labelling.label_studio_export import write_label_studio

    labelled = [one for one in store.labelled_items() if kind in ("all", one.item.kind)]
    if format == "jsonl":
        return _whole(labelled, out)
    if format in ("comparisons", "trl"):
        by = aggregation(aggregate, groups=store.groups(group))
        if format == "trl":
            return exporting.write_trl(labelled, out, aggregate=by)
        # Who is of which group follows from votes and a probability that weighs groups.
        return exporting.write_comparisons(labelled, out, aggregate=by, margins=margins, name_votes=not group)
    if format == "argilla":
        return write_argilla(labelled, out, guidelines=store.guidelines()[1])
    writers = {
        "rankings": exporting.write_rankings,
        "grades": exporting.write_grades,
        "demonstrations": exporting.write_demonstrations,
        "red-team": exporting.write_red_team,
        "label-studio": write_label_studio,
    }
    return writers[format](labelled, out)


def _whole(labelled: list[LabelledItem], out: Path) -> dict[str, Any]:
    from trimtab.labelling.exporting import Tally
    from trimtab.labelling.labels_file import write_labels

    tally = Tally()
    for one in labelled:
        tally.add(label.answer for label in one.labels)
    return tally.summary(write_labels(out, labelled))


def _show_imported(file: Path, found: Imported) -> None:
    typer.echo(f"{file}, read as {found.format}: {found.items:,} new items, {found.labels:,} new labels")
    if found.known_items:
        typer.echo(f"{found.known_items:,} items were there before and stay as they are")
    _show_left_out(found.left_out)


def _show_exported(out: Path, summary: Mapping[str, Any]) -> None:
    exported = ", ".join(f"{number:,} {kind}" for kind, number in summary["exported"].items()) or "none"
    typer.echo(f"{out}: {summary['rows']:,} rows. Labels exported: {exported}")
    if summary["both_bad"]:
        typer.echo(f"Of these, {summary['both_bad']:,} say that both responses are bad")
    _show_left_out(summary["left_out"])


def _show_left_out(left_out: Mapping[str, int]) -> None:
    for reason, number in left_out.items():
        typer.echo(f"left out, {reason}: {number:,}")
