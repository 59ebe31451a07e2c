"""The report stage: one page on the whole run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimtab.config import ReportStage
from trimtab.evaluation.report.build import report_content
from trimtab.evaluation.report.chains import write_chains_page
from trimtab.evaluation.report.render import write_report
from trimtab.pipeline.artifacts import CHAINS, REPORT, Record, now, read_artifact
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs


def run_report(config: ReportStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Write `report.html` from the artifacts of every stage before."""
    records = [read_artifact(folder).record for folder in context.folders]
    title = config.title or context.title
    pages = _chain_pages(context.folders, records, context, title)
    report = report_content(
        context.folders,
        title=title,
        recipe=context.recipe.name,
        date=now()[:10],
        machine=_told_once((record.name, record.machine) for record in records),
        command=context.command,
        repeat={"seed": str(context.seed)} | _told_once((record.name, record.versions) for record in records),
        labelled_by=config.labelled_by,
        pages=pages,
    )
    write_report(report, context.folder / REPORT)
    return {"report": REPORT, "pages": list(pages.values())}


def _chain_pages(folders: Iterable[Path], records: Iterable[Record], context: Context, title: str) -> dict[str, str]:
    """A page for each stage that left chains of critique and revision: its file's name, by stage."""
    pages = {}
    for folder, record in zip(folders, records, strict=True):
        if (folder / CHAINS).is_file():
            rows = [json.loads(line) for line in (folder / CHAINS).read_text(encoding="utf-8").splitlines()]
            pages[record.name] = f"{record.name}.html"
            write_chains_page(
                rows,
                record.summary["principles"],
                context.folder / pages[record.name],
                title=title,
                stage=record.name,
                constitution=record.summary["constitution"],
            )
    return pages


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
