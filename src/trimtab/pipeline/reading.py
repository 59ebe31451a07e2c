"""The data of a stage, wherever it comes from: files, the hub, or stages that make data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trimtab.config.base import DataStage
from trimtab.config.feedback import ReviseStage
from trimtab.config.training import TextTuningStage
from trimtab.data.files import Watch, unwatched
from trimtab.data.formats import read_prompts
from trimtab.data.text import Parts, part, read_text
from trimtab.pipeline.artifacts import data_source
from trimtab.pipeline.resolve import Inputs
from trimtab.types import Prompt


def read_data(
    reader: Callable[..., Iterator[Any]], config: DataStage, inputs: Inputs, watch: Watch = unwatched
) -> Iterator[Any]:
    """The records of all of a stage's data, one source after another, read by one of `trimtab.data.formats`."""
    for source in config.sources:
        yield from reader(data_source(inputs, source), skip_bad=config.skip_bad, columns=config.columns, watch=watch)


def helpful_prompts(config: ReviseStage) -> Iterator[Prompt]:
    """The prompts that only want help, which a stage that revises answers beside the others; none if it has none."""
    if config.helpful is not None:
        yield from read_data(
            read_prompts, DataStage(kind=config.kind, data=config.helpful, skip_bad=config.skip_bad), {}
        )


def text_parts(config: TextTuningStage, watch: Watch = unwatched) -> Parts:
    """The text of a stage in two: what it learns from, and what it holds out."""
    return part(lambda: read_data(read_text, config, {}, watch), config.held_out)
