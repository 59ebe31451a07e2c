"""Serving a project until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from trimtab.errors import LabellingError
from trimtab.labelling.store import Store
from trimtab.labelling.web.app import Model, Summarise, application

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 takes a free one. Raises `LabellingError` if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off on sockets that say they are TCP; on others pages wait 40 ms for the browser
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)  # so that a link works from the moment it is printed
    except OSError as error:
        listener.close()
        raise LabellingError(f"{host}:{port} cannot be used: {error.strerror}. Choose another with --port") from error
    return listener


def serve(
    store: Store,
    listener: socket.socket,
    *,
    summarise: Summarise,
    model: Model | None = None,
    hosts: frozenset[str] = LOOPBACK,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Publish the guidelines, and serve until a signal ends it; requests that have begun are finished.

    Empty `hosts` answers to any name. Only then there may be a proxy, whose word (of this machine) is taken for where a
    request came from.
    """
    import uvicorn

    store.notice_guidelines()
    app: Any = application(store, summarise, model, hosts)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=not hosts,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])
    on_stop()
