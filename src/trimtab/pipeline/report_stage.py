"""The report stage: one page on the whole run."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from trimtab.config import ReportStage
from trimtab.evaluation.report.build import report_content
from trimtab.evaluation.report.render import write_report
from trimtab.pipeline.artifacts import REPORT, now, versions
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs, hardware


def run_report(config: ReportStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Write `report.html` from the artifacts of every stage before."""
    report = report_content(
        context.folders,
        title=config.title or context.title,
        recipe=context.recipe.name,
        date=now()[:10],
        machine=_machine(context),
        command=context.command,
        repeat={"seed": str(context.seed)} | versions(),
        labelled_by=config.labelled_by,
    )
    write_report(report, context.folder / REPORT)
    return {"report": REPORT}


def _machine(context: Context) -> dict[str, str]:
    """What the run ran on, in words."""
    device, dtype = hardware(context.runtime)
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(context.runtime.threads or torch.get_num_threads()),
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def _processor() -> str:
    """The processor's name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
