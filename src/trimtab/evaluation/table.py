"""The before/after table a terminal shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.evaluation.format import change_estimate_text, estimate_text
from trimtab.evaluation.statistics import Estimate

_FEW_GROUPS = 4


@dataclass(frozen=True, slots=True)
class Table:
    """Column names and rows of text, as many cells in a row as columns."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str


def before_after_table(evaluation: Mapping[str, Any], *, every_check: bool = False) -> Table:
    """An evaluation's metrics by model, with the last model's paired difference from the one before.

    A group's own rows follow those of all prompts, where there are few groups; those of many groups and single checks
    are shown when `every_check` is set.
    """
    few = len(evaluation["groups"]) - 1 <= _FEW_GROUPS
    names = evaluation["models"]
    changes = {
        (row["metric"], row["group"]): Estimate.from_json(row["estimate"])
        for row in evaluation["differences"]
        if (row["before"], row["after"]) == tuple(names[-2:])
    }
    rows = []
    for row in evaluation["metrics"]:
        is_detail = row["metric"].startswith("check:") or (row["group"] != "all" and not few)
        if is_detail and not every_check:
            continue
        change = changes.get((row["metric"], row["group"]))
        cells = [_cell(row["by_model"][name], row["unit"]) for name in names]
        size = str(next(found["n"] for found in row["by_model"].values() if found is not None))
        last = [change_estimate_text(change, row["unit"]) if change else ""] if len(names) > 1 else []
        rows.append((_title(row), size, *cells, *last))
    difference = [f"{names[-1]} minus {names[-2]}"] if len(names) > 1 else []
    caption = "In brackets: 95 % intervals. n: prompts. Differences are paired by prompt."
    return Table(("Measure", "n", *names, *difference), tuple(rows), caption)


def _title(row: Mapping[str, Any]) -> str:
    return row["title"] if row["group"] == "all" else f"{row['title']} ({row['group']})"


def _cell(found: Mapping[str, Any] | None, unit: Any) -> str:
    return "" if found is None else estimate_text(Estimate.from_json(found), unit)
