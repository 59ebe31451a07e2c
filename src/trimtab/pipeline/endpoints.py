"""A stage's model behind a server: every call is kept with the stage's state, and goes with its artifact."""

from __future__ import annotations

import shutil

from trimtab.config.endpoint import EndpointSettings
from trimtab.generation.endpoint import Endpoint
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import open_endpoint

CALLS = "calls.jsonl"


def stage_endpoint(settings: EndpointSettings | None, context: Context) -> Endpoint:
    """The model of a stage's endpoint block. What was paid for before an interruption is not paid for again."""
    assert settings is not None
    return open_endpoint(settings, context.state / CALLS)


def keep_calls(context: Context) -> None:
    """Put the log of calls into the artifact, for whoever wants to see what was asked and answered."""
    if (context.state / CALLS).exists():
        shutil.copy2(context.state / CALLS, context.folder / CALLS)
