"""`trimtab doctor`: what may keep trimtab from working here, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AllowRemoteCode, Json

if TYPE_CHECKING:
    from trimtab.pipeline.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor_command(
    model: Annotated[str | None, typer.Option(help="Load this model too and check it: any name `chat` takes.")] = None,
    allow_remote_code: AllowRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Check Python, packages, processor, memory, disks and the cache; with --model, a model too."""
    from dataclasses import asdict

    from trimtab.cli.libraries import settle_libraries
    from trimtab.pipeline.doctor import check_machine

    settle_libraries()
    findings = check_machine(Path())
    if model is not None:
        from trimtab.pipeline.model_doctor import check_model

        findings += check_model(model, allow_remote_code=allow_remote_code, say=lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    else:
        _show(findings)
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    """One finding a line, with what to do under it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n{finding.remedy}", style=STYLES[finding.status])
        table.add_row(Text(finding.status, style=STYLES[finding.status]), finding.check, detail)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    counts = [_counted(findings, status) for status in ("warning", "problem")]
    console.print(f"\n{len(findings)} checks, {', '.join(counts)}")


def _counted(findings: Sequence[Finding], status: str) -> str:
    count = sum(finding.status == status for finding in findings)
    return f"{count} {status}{'' if count == 1 else 's'}"
