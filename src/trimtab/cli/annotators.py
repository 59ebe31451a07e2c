"""`trimtab annotators`: how far people agree, how each of them works, and whom they stand for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import Json
from trimtab.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from trimtab.evaluation.annotators import Annotator
    from trimtab.evaluation.groups import Groups
    from trimtab.evaluation.representation import Attributes, Representation
    from trimtab.evaluation.statistics import Estimate
    from trimtab.labelling.analysis import Analysis
    from trimtab.labelling.records import LabelledItem

_NO_NUMBER = "–"
_TOO_FEW = "too few people: a number here would be of fewer than five, or say what everybody is"


def annotators_command(
    source: Annotated[Path, typer.Argument(metavar="PROJECT_OR_LABELS", help="A project's folder, or labels.jsonl.")],
    target: Annotated[
        Path | None, typer.Option(help="Whom the labels should stand for, a CSV table: attribute,value,share.")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option(help="What annotators said of themselves, a CSV table: annotator,age,...")
    ] = None,
    first: Annotated[
        int | None, typer.Option(min=2, help="Labels of each item that count for agreement; a project's overlap.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show agreement, each annotator's pace and leanings, and groups of people, of which none is of fewer than five."""
    from trimtab.evaluation.representation import read_attributes, read_target
    from trimtab.evaluation.scales import NORMS
    from trimtab.labelling.analysis import analyse

    labelled, of_people, counted = _read(source, first)
    if attributes is not None:
        of_people = read_attributes(attributes)
    population = {} if target is None else read_target(target)
    if population and not of_people:
        raise UserError(
            f"there is nothing to hold beside {target}: no annotator said anything of themselves. Ask them "
            "(attributes in label.yaml), or give what you know: --attributes TABLE.csv"
        )
    found = analyse(labelled, of_people, population, first=counted)
    if not found.labels:
        raise UserError(f"there are no labels in {source} yet. People give them on the pages of: trimtab label PROJECT")
    if as_json:
        norms = [{**dataclasses.asdict(norm), "ceiling": norm.ceiling} for norm in NORMS]
        plain = {"source": str(source), "labels_counted": counted, "norms": norms, **_plain(found)}
        typer.echo(json.dumps(plain, ensure_ascii=False, indent=2))
    else:
        _show(found, counted)


def _read(source: Path, first: int | None) -> tuple[list[LabelledItem], Attributes, int | None]:
    """Items with their labels, what people said of themselves, and how many labels of each item count for agreement."""
    from trimtab.labelling.labels_file import read_labels
    from trimtab.labelling.store import Store

    if not source.is_dir():
        return list(read_labels(source)), {}, first
    store = Store.open(source)
    return list(store.labelled_items()), store.attributes(), first or store.settings.votes_for_agreement


def _plain(value: Any) -> Any:
    """Data classes, mappings and sequences as JSON has them."""
    from trimtab.evaluation.statistics import Estimate

    if isinstance(value, Estimate):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value


def _show(found: Analysis, counted: int | None) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"{found.labels} labels of {found.items} items by {len(found.annotators)} annotators\n")
    _show_agreement(console, found, counted)
    _show_people(console, found)
    for attribute, representation in found.representation.items():
        _show_representation(console, attribute, representation)
    for attribute, groups in found.groups.items():
        _show_groups(console, attribute, groups)


def _show_agreement(console: Console, found: Analysis, counted: int | None) -> None:
    from trimtab.evaluation.scales import NORMS

    if not found.agreement:
        console.print("Agreement is unknown: no item without a known answer was labelled by two people.\n")
        return
    table = _table(
        "Agreement", "Judgement", "n", "Pairs agree", "Cohen's κ", "Fleiss' κ", "Krippendorff's α", "Ceiling"
    )
    for row in found.agreement:
        alphas = "\n".join(f"{_score(value)} {level}" for level, value in row.alpha.items())
        cohen, fleiss, most = _score(row.cohen), _score(row.fleiss), _share(row.ceiling)
        table.add_row(row.scale, str(row.pairwise.n), _share(row.pairwise), cohen, fleiss, alphas or _NO_NUMBER, most)
    rule = "" if counted is None else f" Of each item the first {counted} labels count."
    table.caption = (
        "n: items labelled by two people or more; those with a known answer are left out. In brackets: 95 % intervals. "
        "Cohen's κ is averaged over pairs of annotators. Ceiling: the accuracy a perfect reward model would show on "
        f"single votes.{rule}"
    )
    console.print(table)
    table = _table(
        "Agreement others found, of two people who choose between two answers", "Who", "Pairs agree", "Ceiling"
    )
    table.add_column("Source")
    for norm in NORMS:
        share = 100 * norm.agreement
        agreement = (
            f"about {share:.0f} %" if norm.plus_minus is None else f"{share:.1f} ± {100 * norm.plus_minus:.1f} %"
        )
        table.add_row(norm.who, agreement, f"{100 * norm.ceiling:.0f} %", norm.source)
    console.print(table)


def _show_people(console: Console, found: Analysis) -> None:
    names = ("Annotator", "Labels", "Median", "Agree with others", "Gold", "Prefer shown first", "Prefer longer")
    table = _table("Annotators", *names, "Too hard", "Changed by critique")
    for one in (*found.annotators, *([found.everyone] if found.everyone and len(found.annotators) > 1 else [])):
        table.add_row(*_person(one))
    table.caption = (
        "In brackets: 95 % intervals, of which one in twenty misses. Gold: accuracy on items with a known answer. "
        "Who does not mind the place prefers what is shown first in half of all cases. Longer answers may well be "
        "better: compare people with one another."
    )
    console.print(table)


def _person(one: Annotator) -> list[str]:
    from trimtab.cli.console import duration
    from trimtab.cli.wrap import printable

    shares = (one.agreement, one.gold, one.shown_first, one.longer, one.too_hard, one.changed)
    return [printable(one.name), str(one.labels), duration(one.median_seconds), *map(_share, shares)]


def _show_representation(console: Console, attribute: str, found: Representation) -> None:
    from trimtab.cli.wrap import printable
    from trimtab.evaluation.format import change_estimate_text, value_text

    table = _table(
        f"{printable(attribute)}: the pool beside the target", "Value", "People", "Pool", "Target", "Difference"
    )
    for row in found.rows:
        difference = change_estimate_text(row.difference, "share")
        target = value_text(row.target, "share")
        table.add_row(printable(row.value), str(row.people), _share(row.pool), target, difference)
    if not found.rows:
        table.add_row(_TOO_FEW, *[_NO_NUMBER] * 4)
    table.caption = "Values of fewer than five people are merged, with the next smallest where five need it."
    console.print(table)


def _show_groups(console: Console, attribute: str, found: Groups) -> None:
    from trimtab.cli.wrap import printable

    name = printable(attribute)
    table = _table(
        f"{name}: where groups differ", "Group", "People", "Prefer first response", "Agree within", "Agree across"
    )
    for group in found.groups:
        table.add_row(
            printable(group.name), str(group.people), _share(group.first), _share(group.within), _share(group.across)
        )
    if not found.groups:
        table.add_row(_TOO_FEW, *[_NO_NUMBER] * 4)
    else:
        table.caption = _test_text(found)
    console.print(table)
    if not found.divided:
        return
    groups = [group.name for group in found.groups if any(group.name in row.by_group for row in found.divided)]
    table = _table(f"{name}: what divides groups most", "Item", "Responses", *map(printable, groups), "Gap", "p")
    for row in found.divided:
        item, one, other = row.question
        shares = (_share(row.by_group.get(group)) for group in groups)
        table.add_row(
            printable(item), f"{one + 1}, {other + 1}", *shares, f"{100 * row.gap:.0f} points", f"{row.p_value:.3f}"
        )
    table.caption = "Shares of votes for the first of the two responses. p allows for the number of items."
    console.print(table)


def _test_text(found: Groups) -> str:
    if found.p_value is None:
        return "No item was judged by five people of each of two groups, so items cannot be compared."
    return (
        f"{found.questions} questions can be compared. Groups dealt at random among the same people would differ as "
        f"much in {100 * found.p_value:.1f} % of cases."
    )


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", caption_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table


def _share(estimate: Estimate | None) -> str:
    from trimtab.evaluation.format import estimate_text

    return _NO_NUMBER if estimate is None else estimate_text(estimate, "share")


def _score(estimate: Estimate | None) -> str:
    from trimtab.evaluation.format import estimate_text

    return _NO_NUMBER if estimate is None else estimate_text(estimate, "score")
