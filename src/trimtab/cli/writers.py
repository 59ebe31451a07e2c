"""Models that write, as commands ask for them: found, fetched where they are not here, and loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.models.policy import Policy


def open_writer(source: str, *, allow_remote_code: bool) -> Policy:
    """The model of a folder, a bundled name or a hub id, as it runs best on this machine."""
    from trimtab.cli.chat_session import say
    from trimtab.config import Runtime
    from trimtab.models.registry import locate
    from trimtab.pipeline.resolve import load_writer

    return load_writer(str(locate(source, say=say)), Runtime(), allow_remote_code=allow_remote_code)
