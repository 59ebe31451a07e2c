"""A stage's model behind a server: every call is kept in the store, whatever the stage's key, and with its artifact."""

from __future__ import annotations

import shutil

from trimtab.config.endpoint import EndpointSettings
from trimtab.generation.endpoint import Endpoint
from trimtab.pipeline.artifacts import CALLS
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import open_endpoint


def stage_endpoint(settings: EndpointSettings | None, context: Context) -> Endpoint:
    """The model of a stage's endpoint block. What was paid for before is not paid for again, and counts for the caps.

    That holds after an interruption, and after a change of settings that has the stage made anew.
    """
    assert settings is not None
    return open_endpoint(settings, context.calls)


def keep_calls(settings: EndpointSettings | None, context: Context) -> None:
    """Put the log of calls into the artifact, for whoever wants to see what was asked and answered."""
    if settings is not None and context.calls.exists():
        shutil.copy2(context.calls, context.folder / CALLS)
