"""The formats trimtab knows: for each, the columns that tell it and the function that reads a row.

Formats are tried from the most particular to the most general, so a file is recognised by its columns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trimtab.data import parse_judgements as judgements
from trimtab.data import parse_responses as responses
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

Record = Demonstration | Comparison | Ranking | Grade | Prompt
Kind = Literal["demonstrations", "comparisons", "rankings", "grades", "unpaired", "prompts"]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """A format: its name, what its rows hold, the columns that tell it, and how to read a row."""

    name: str
    kind: Kind
    needs: tuple[str, ...]
    parse: Callable[[Values, Values], Sequence[Record]]
    optional: tuple[str, ...] = ()
    fits: Callable[[Values], bool] = lambda row: True

    def matches(self, row: Values) -> bool:
        """Whether a row has the columns of this format."""
        return not self.missing(row) and self.fits(row)

    def missing(self, row: Values) -> list[str]:
        """The columns this format needs and a row lacks."""
        return [name for name in self.needs if row.get(name) is None]

    def records(self, row: Values) -> Sequence[Record]:
        """What a row says. Columns the format does not read go into the prompt's `meta`."""
        known = {*self.needs, *self.optional}
        return self.parse(row, {name: value for name, value in row.items() if name not in known})


def find_shape(row: Values) -> Shape | None:
    """The first format whose columns the row has."""
    return next((shape for shape in SHAPES if shape.matches(row)), None)


_WHO = ("annotator", "instructions_version")
_JUDGED = ("probability", "margin", "annotators", *_WHO)
_ALPACA = ("input", "system", "history")
TEXT = Shape("text (language modelling)", "demonstrations", ("text",), responses.text)

SHAPES = (
    Shape("votes", "comparisons", ("prompt", "responses", "votes"), judgements.votes, ("instructions_version",)),
    Shape("rankings", "rankings", ("prompt", "responses", "ranking"), judgements.rankings, _WHO),
    Shape("grades", "grades", ("prompt", "responses", "scores"), judgements.grades, _WHO),
    Shape(
        "OpenAI preference",
        "comparisons",
        ("input", "preferred_output", "non_preferred_output"),
        judgements.openai_preference,
        _JUDGED,
        fits=lambda row: isinstance(row["input"], Mapping),
    ),
    Shape(
        "ShareGPT preference",
        "comparisons",
        ("conversations", "chosen", "rejected"),
        judgements.sharegpt_preference,
        ("system", *_JUDGED),
    ),
    Shape(
        "ShareGPT unpaired preference",
        "unpaired",
        ("conversations", "kto_tag"),
        responses.sharegpt_unpaired,
        ("system",),
    ),
    Shape("ShareGPT", "demonstrations", ("conversations",), responses.sharegpt, ("system",)),
    Shape(
        "Alpaca preference",
        "comparisons",
        ("instruction", "chosen", "rejected"),
        judgements.alpaca_preference,
        (*_ALPACA, *_JUDGED),
    ),
    Shape("Alpaca", "demonstrations", ("instruction", "output"), responses.alpaca, _ALPACA),
    Shape(
        "HH-RLHF transcripts", "comparisons", ("chosen", "rejected"), judgements.hh, _JUDGED, judgements.is_transcript
    ),
    Shape("preference", "comparisons", ("chosen", "rejected"), judgements.preference, ("prompt", *_JUDGED)),
    Shape(
        "unpaired preference",
        "unpaired",
        ("prompt", "completion", "label"),
        responses.unpaired,
        fits=responses.is_labelled,
    ),
    Shape("prompt-completion", "demonstrations", ("prompt", "completion"), responses.prompt_completion),
    Shape("messages (OpenAI chat, TRL conversational)", "demonstrations", ("messages",), responses.messages),
    TEXT,
    Shape("prompt-only", "prompts", ("prompt",), responses.prompt_only),
)
