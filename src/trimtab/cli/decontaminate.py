"""`trimtab data decontaminate`: does what is learnt from hold what is measured on?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.data import listening, renames, safe
from trimtab.errors import DataError

if TYPE_CHECKING:
    from trimtab.data.decontamination import HeldOut, Overlap
    from trimtab.data.files import Place
    from trimtab.data.formats import ReadRow
    from trimtab.types import Prompt

_LISTED = 20
_QUOTED = 80


@dataclass(frozen=True, slots=True)
class Finding:
    """A row that overlaps with held-out data: its place, the held-out prompt and that one's place."""

    row: Place
    overlap: Overlap
    prompt: str
    held_out: Place

    def to_json(self) -> dict[str, Any]:
        """The finding as `--json` prints it."""
        return {
            "row": {"file": self.row.file, self.row.unit: self.row.number},
            "held_out": {"file": self.held_out.file, self.held_out.unit: self.held_out.number},
            "reason": self.overlap.reason,
            "score": round(self.overlap.score, 3),
            "prompt": self.prompt,
        }


def decontaminate_command(
    data: Annotated[str, typer.Argument(help="What is learnt from: a file, a folder, or hf:owner/name:split.")],
    against: Annotated[list[str], typer.Option(help="What is measured on; repeatable.")],
    out: Annotated[Path | None, typer.Option(help="Write the clean rows here, as JSON lines.")] = None,
    ngram: Annotated[int, typer.Option(min=2, help="Words in a run that counts as shared.")] = 8,
    coverage: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a held-out prompt in shared runs that is too much.")
    ] = 0.5,
    rouge: Annotated[float, typer.Option(min=0, max=1, help="ROUGE-L of two prompts above which they are one.")] = 0.7,
    columns: Annotated[list[str] | None, typer.Option(help="Rename a column of DATA; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Find rows that hold a held-out prompt: the same one, nearly the same, or one inside a longer text.

    Ends with 1 when there are some and --out does not leave them out.
    """
    from trimtab.data.decontamination import HeldOut

    held = _held_out(against)
    held_out = HeldOut([prompt for _, prompt in held], ngram=ngram, coverage=coverage, rouge=rouge)
    found, clean = _compare(data, renames(columns or []), held, held_out)
    if out is not None:
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in clean), encoding="utf-8")
    if as_json:
        report = {
            "rows": len(found) + len(clean),
            "held_out": len(held),
            "contaminated": [one.to_json() for one in found],
        }
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace").decode())
    else:
        _show(found, len(clean), len(held), out)
    if found and out is None:
        raise typer.Exit(1)


def _held_out(sources: list[str]) -> list[tuple[Place, Prompt]]:
    """The prompts of the held-out rows with their places. Raises `DataError` for a bad row or one without a prompt."""
    from trimtab.data.formats import read
    from trimtab.types import Prompt

    prompts = [
        (row.place, record if isinstance(record, Prompt) else record.prompt)
        for source in sources
        for row in read(source).rows()
        for record in _sound(row, source).records
    ]
    if not all(prompt.messages for _, prompt in prompts):
        raise DataError("held-out data needs prompts, and plain text has none")
    return prompts


def _compare(
    data: str, columns: dict[str, str], held: list[tuple[Place, Prompt]], held_out: HeldOut
) -> tuple[list[Finding], list[Any]]:
    """What was found, and the other rows as they stand in the file."""
    from trimtab.data.decontamination import prompt_text
    from trimtab.data.files import read_rows
    from trimtab.data.formats import read

    found: list[Finding] = []
    clean: list[Any] = []
    with listening() as watch:
        rows = read(data, columns=columns, watch=watch).rows()
        for row, as_it_stands in zip(rows, read_rows(data), strict=True):
            overlap = next(filter(None, map(held_out.find, _sound(row, data).records)), None)
            if overlap is None:
                clean.append(as_it_stands.value)
            else:
                place, prompt = held[overlap.number]
                found.append(Finding(row.place, overlap, prompt_text(prompt), place))
    return found, clean


def _sound(row: ReadRow, source: str) -> ReadRow:
    if row.problem:
        raise DataError(f"{row.place}: {row.problem}. `trimtab data check {source}` lists all bad rows")
    return row


def _show(found: list[Finding], clean: int, held_out: int, out: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, emoji=False)
    console.print(f"{len(found) + clean:,} rows against {held_out:,} held-out prompts: {len(found):,} contaminated")
    for one in found[:_LISTED]:
        console.print(
            f"  {safe(str(one.row))}: {one.overlap.reason} {one.overlap.score:.2f} with {safe(str(one.held_out))}: "
            f"{safe(one.prompt[:_QUOTED])}"
        )
    if len(found) > _LISTED:
        console.print(f"  and {len(found) - _LISTED:,} more (--json lists them all)")
    if out is not None:
        console.print(f"{clean:,} clean rows are in {safe(str(out))}")
