"""The report stage: one page on the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trimtab.config import ReportStage
from trimtab.evaluation.report.build import report_content
from trimtab.evaluation.report.render import write_report
from trimtab.pipeline.artifacts import REPORT, now, read_artifact
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs


def run_report(config: ReportStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Write `report.html` from the artifacts of every stage before."""
    records = [read_artifact(folder).record for folder in context.folders]
    report = report_content(
        context.folders,
        title=config.title or context.title,
        recipe=context.recipe.name,
        date=now()[:10],
        machine=_told_once((record.name, record.machine) for record in records),
        command=context.command,
        repeat={"seed": str(context.seed)} | _told_once((record.name, record.versions) for record in records),
        labelled_by=config.labelled_by,
    )
    write_report(report, context.folder / REPORT)
    return {"report": REPORT}


def _told_once(values: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """What stages say of themselves, by key: the value alone where all agree, else each with the stages that say it."""
    by_key: dict[str, dict[str, list[str]]] = {}
    for stage, said in values:
        for key, value in said.items():
            by_key.setdefault(key, {}).setdefault(value, []).append(stage)
    return {
        key: next(iter(found)) if len(found) == 1 else "; ".join(f"{v} ({', '.join(s)})" for v, s in found.items())
        for key, found in by_key.items()
    }
