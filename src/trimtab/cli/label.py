"""`trimtab label`: serve a labelling project, and give out its personal links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AllowRemoteCode
from trimtab.cli.wrap import printable
from trimtab.errors import LabellingError

if TYPE_CHECKING:
    from trimtab.labelling.store import Store

LOOPBACK = "127.0.0.1"


def label_command(
    project: Annotated[Path, typer.Argument(help="The project's folder; with --data it is made if it is not there.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Put what is in this file into the queue, then serve.")
    ] = None,
    kind: Annotated[str, typer.Option(help="What people do with it: auto, compare, rank, grade, ...")] = "auto",
    annotators: Annotated[str, typer.Option(metavar="NAMES", help="People to invite, with commas between.")] = "",
    new_links: Annotated[bool, typer.Option("--new-links", help="New links in place of all that work.")] = False,
    revoke: Annotated[str, typer.Option(metavar="NAME", help="End a person's link. Their labels stay.")] = "",
    title: Annotated[str, typer.Option(help="Title of a new project.")] = "",
    model: Annotated[str, typer.Option(help="A model for red-team dialogues: a folder, a name, a stage.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen at. Others than this machine reach 0.0.0.0.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8321,
    url: Annotated[str, typer.Option(help="What links begin with, where a proxy stands before this server.")] = "",
    serve: Annotated[bool, typer.Option(help="Serve; --no-serve only prepares and prints.")] = True,
    allow_remote_code: AllowRemoteCode = False,
) -> None:
    """Have people compare, rank, grade, write, edit or red-team in their browsers.

    Prints one personal link each. Everything is in the project's folder: settings (label.yaml), guidelines
    (guidelines.md) and labels (labels.db). trimtab labels export takes labels out.
    """
    from trimtab.labelling import people

    store = _store(project, title, create=data is not None or bool(annotators))
    if data is not None:
        _add(store, data, kind)
    if revoke:
        people.revoke(store, revoke)
        typer.echo(f"{revoke}: the link has ended")
    names = [name.strip() for name in annotators.split(",") if name.strip()]
    give_links = partial(people.give_links, store, names, renew=new_links)
    if not serve:
        _tell(store, url or f"http://{_name(host)}:{port}", give_links())
        return
    _serve(store, give_links, model, host, port, url, allow_remote_code)


def _store(project: Path, title: str, *, create: bool) -> Store:
    from trimtab.labelling.settings import DATABASE, Settings
    from trimtab.labelling.store import Store

    if create and not (project / DATABASE).exists():
        return Store.create(project, Settings(title=title) if title else Settings())
    store = Store.open(project)
    store.apply_settings()
    return store


def _add(store: Store, data: Path, kind: str) -> None:
    from trimtab.labelling.importing import import_file

    added = import_file(store, data, kind=kind)
    typer.echo(f"{data}: {added.items:,} new items")


def _serve(
    store: Store,
    give_links: Callable[[], Mapping[str, str]],
    model: str,
    host: str,
    port: int,
    url: str,
    allow_remote_code: bool,
) -> None:
    """Serve, with links given only when nothing else can fail: a link that was not printed is lost."""
    try:
        from trimtab.labelling.web.serve import LOOPBACK as NAMES
        from trimtab.labelling.web.serve import listen, serve
    except ImportError as error:
        raise LabellingError(
            f"labelling needs more packages ({error.name} is missing): pip install 'trimtab[label]'"
        ) from error
    from trimtab.labelling.dashboard import Dashboard

    speaker = _load(model, allow_remote_code) if model else None
    with listen(host, port) as listener:
        base = url or f"http://{_name(host)}:{listener.getsockname()[1]}"
        _tell(store, base, give_links())
        if host != LOOPBACK and not url:
            typer.echo("Anyone who can reach this address can try to sign in; nothing is encrypted: docs/labelling.md")
        typer.echo("Ctrl+C stops; nothing is lost by that")
        names = NAMES if host == LOOPBACK and not url else frozenset()
        serve(store, listener, summarise=Dashboard(), model=speaker, hosts=names)


def _tell(store: Store, base: str, secrets: Mapping[str, str]) -> None:
    counts, title = store.counts(), printable(store.settings.title)
    typer.echo(f"{title}: {counts['items']:,} items, {counts['given']:,} of {counts['wanted']:,} votes")
    for name, secret in secrets.items():
        typer.echo(f"{name}: {base.rstrip('/')}/in/{secret}")
    others = [_one_line(name) for name in store.linked() if name not in secrets]
    if others:
        typer.echo(f"Links given before still work: {', '.join(others)}. --new-links replaces all of them")
    if not store.linked():
        typer.echo("Nobody has a link that works: --annotators ann,bo")


def _one_line(name: str) -> str:
    """A name for a terminal. Those of people who came with imported labels may hold anything."""
    return name if name.isprintable() else repr(name)


def _name(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _load(model: str, allow_remote_code: bool) -> Any:
    from trimtab.cli.libraries import settle_libraries

    settle_libraries()
    from trimtab.cli.writers import open_writer
    from trimtab.labelling.live_model import LiveModel
    from trimtab.pipeline.find import find_policy

    policy = open_writer(find_policy(model), allow_remote_code=allow_remote_code)
    return LiveModel(policy)
