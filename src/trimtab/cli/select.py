"""`trimtab labels select`: ask people about the most uncertain pairs first."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trimtab.cli.options import AllowRemoteCode, Json

if TYPE_CHECKING:
    from trimtab.labelling.selection import Measure, Selection
    from trimtab.models.policy import Policy

SECONDS_BETWEEN_LINES = 10.0
_SHOWN = 5


def select_command(
    project: Annotated[Path, typer.Argument(help="The project's folder.")],
    model: Annotated[str, typer.Option(help="A model to read the responses: a folder, a name, a stage.")],
    by: Annotated[str, typer.Option(help="even: one head cannot decide; information: heads disagree.")] = "even",
    heads: Annotated[int, typer.Option(min=2, help="Reward heads whose disagreement counts.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Draws the pairs each head is fitted to.")] = 0,
    as_json: Json = False,
    allow_remote_code: AllowRemoteCode = False,
) -> None:
    """Ask people first about the pairs that reward heads, fitted to the votes so far, are uncertain about.

    Run it again when more votes are in; the project may be served meanwhile. docs/selection.md says when it helps.
    """
    from trimtab.cli.libraries import settle_libraries

    settle_libraries()
    from trimtab.cli.writers import open_writer
    from trimtab.labelling.selection import prioritise, seen_by
    from trimtab.labelling.store import Store
    from trimtab.pipeline.find import find_policy

    def reading() -> Policy:
        return open_writer(find_policy(model), allow_remote_code=allow_remote_code)

    found = prioritise(
        Store.open(project),
        lambda items: seen_by(reading(), on_progress=_teller())(items),
        by=cast("Measure", by),  # prioritise says which there are
        heads=heads,
        seed=seed,
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=2))
    else:
        _show(found)


def _show(found: Selection) -> None:
    from trimtab.cli.wrap import printable

    typer.echo(f"Fitted to {found.fitted:,} pairs with votes; uncertainty by {found.by}")
    typer.echo(
        f"Next come {found.begun:,} pairs that have labels, while they need more, then {len(found.pairs):,} others:"
    )
    for pair in found.pairs[:_SHOWN]:
        typer.echo(
            f"  {printable(pair.key)}: {pair.uncertainty:.3f} nats, the first is better with {pair.probability:.0%}"
        )
    if len(found.pairs) > _SHOWN:
        typer.echo("  ...")


def _teller() -> Callable[[int, int], None]:
    """A line beside the output now and then, as reading takes minutes."""
    from trimtab.cli.chat_session import say

    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"reading pairs: {done:,} of {total:,}")

    return tell
