"""`trimtab labels select`: ask people about the most uncertain pairs first."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AllowRemoteCode, Json

if TYPE_CHECKING:
    from trimtab.labelling.selection import Selection
    from trimtab.models.policy import Policy

_SHOWN = 5


def select_command(
    project: Annotated[Path, typer.Argument(help="The project's folder.")],
    model: Annotated[str, typer.Option(help="Whose view of the responses counts: a folder, a name, a stage.")],
    heads: Annotated[int, typer.Option(min=2, help="Reward heads whose disagreement is measured.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Draws the pairs each head is fitted to.")] = 0,
    as_json: Json = False,
    allow_remote_code: AllowRemoteCode = False,
) -> None:
    """Put the pairs that reward heads disagree about before the others. Can be run while people label."""
    from trimtab.labelling.selection import prioritise, seen_by
    from trimtab.labelling.store import Store

    store = Store.open(project)
    found = prioritise(store, lambda items: seen_by(_load(model, allow_remote_code))(items), heads=heads, seed=seed)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=2))
    else:
        _show(found)


def _show(found: Selection) -> None:
    typer.echo(
        f"{found.heads} heads were fitted to {found.fitted:,} pairs; {len(found.pairs):,} others now come in order"
    )
    typer.echo("Most uncertain:")
    for pair in found.pairs[:_SHOWN]:
        typer.echo(f"  {pair.key}: first is better with {pair.probability:.0%}, worth {pair.information:.2g} nats")


def _load(model: str, allow_remote_code: bool) -> Policy:
    from trimtab.cli.chat_session import say
    from trimtab.cli.libraries import settle_libraries

    settle_libraries()
    from trimtab.config import Runtime
    from trimtab.models.loading import load_policy
    from trimtab.models.registry import locate
    from trimtab.pipeline.find import find_policy
    from trimtab.pipeline.resolve import hardware

    device, dtype = hardware(Runtime())
    folder = locate(find_policy(model), say=say)
    return load_policy(
        str(folder), weights_dtype=dtype, compute_dtype=dtype, device=device, allow_remote_code=allow_remote_code
    )
