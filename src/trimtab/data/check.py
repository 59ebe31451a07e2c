"""What there is to know about a data file before a model is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from trimtab.data.chat import ChatTemplate
from trimtab.data.files import Place
from trimtab.data.formats import BadRow, Dataset, graded_pairs, ranked_pairs
from trimtab.data.shapes import Record
from trimtab.errors import UserError
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

LONG_ROW = 50_000  # characters; far beyond what a model of a few thousand tokens of context can read
QUANTILES = {"min": 0.0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}


@dataclass(frozen=True)
class Example:
    """One rendered example: pieces of text and whether the loss sees them."""

    title: str
    pieces: list[tuple[str, bool]]


@dataclass(frozen=True)
class Report:
    """The findings of `check`. Pairs of places are (where it was first seen, where it was seen again)."""

    source: str
    format: str
    kind: str
    columns: tuple[str, ...]
    rows: int
    records: int
    distinct_prompts: int
    unit: str
    lengths: dict[str, dict[str, int]]
    duplicates: list[tuple[Place, Place]]
    contradictions: list[tuple[Place, Place]]
    long_rows: list[tuple[Place, int]]
    bad: list[BadRow]
    examples: list[Example] = field(default_factory=list)


def check(data: Dataset, template: ChatTemplate | None = None) -> Report:
    """Examine a data set that was read with `skip_bad=True`.

    With a chat template lengths are in tokens, the example is what the model sees, and rows that the template refuses
    are bad rows; without one lengths are in words.
    """
    measured, refused = _measure(data, template)
    return Report(
        source=data.source,
        format=data.format,
        kind=data.kind,
        columns=data.columns,
        rows=len(data.lengths),
        records=len(data.records),
        distinct_prompts=len({_prompt(record) for record in data.records}),
        unit="words" if template is None else "tokens",
        lengths={name: _quantiles(values) for name, values in measured.items() if values},
        duplicates=_duplicates(data),
        contradictions=_contradictions(data),
        long_rows=[(place, length) for place, length in data.lengths if length > LONG_ROW],
        bad=sorted([*data.bad, *refused], key=lambda bad: (bad.place.file, bad.line)),
        examples=_examples(data.records, {bad.place for bad in refused}, data.places, template),
    )


def _measure(data: Dataset, template: ChatTemplate | None) -> tuple[dict[str, list[int]], list[BadRow]]:
    """Lengths of prompts and responses, and the rows that the template refuses."""
    measured: dict[str, list[int]] = {"prompt": [], "response": []}
    refused: dict[Place, BadRow] = {}
    prompt_length, response_length = _measures(template)
    for record, place in zip(data.records, data.places, strict=True):
        try:
            prompt = prompt_length(_prompt(record))
            responses = [response_length(text) for text in _responses(record)]
        except UserError as error:
            refused.setdefault(place, BadRow(place, str(error)))
            continue
        measured["prompt"].append(prompt)
        measured["response"].extend(responses)
    return measured, list(refused.values())


def _measures(template: ChatTemplate | None) -> tuple[Callable[[Prompt], int], Callable[[str], int]]:
    if template is None:
        return lambda prompt: sum(len(m.content.split()) for m in prompt.messages), lambda text: len(text.split())
    return lambda prompt: len(template.prompt_ids(prompt)), lambda text: len(template.response_ids(text))


def _quantiles(values: Sequence[int]) -> dict[str, int]:
    """Quantiles that are values themselves (nearest rank)."""
    ordered = sorted(values)
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in QUANTILES.items()}


def _duplicates(data: Dataset) -> list[tuple[Place, Place]]:
    """Records that say the same as an earlier row."""
    first: dict[Record, Place] = {}
    found: list[tuple[Place, Place]] = []
    for record, place in zip(data.records, data.places, strict=True):
        if first.setdefault(record, place) != place:
            found.append((first[record], place))
    return found


def _contradictions(data: Dataset) -> list[tuple[Place, Place]]:
    """Comparisons of the same two responses to the same prompt that prefer different ones."""
    first: dict[tuple[Prompt, str, str], Place] = {}
    found: list[tuple[Place, Place]] = []
    for place, pair in _pairs(data):
        if pair.probability == 0.5:
            continue
        better, worse = (pair.chosen, pair.rejected)[:: 1 if pair.probability > 0.5 else -1]
        opposite = first.get((pair.prompt, worse, better))
        if opposite is not None:
            found.append((opposite, place))
        first.setdefault((pair.prompt, better, worse), place)
    return found


def _pairs(data: Dataset) -> Iterator[tuple[Place, Comparison]]:
    for place, group in groupby(zip(data.places, data.records, strict=True), key=lambda item: item[0]):
        records = [record for _, record in group]
        yield from ((place, record) for record in records if isinstance(record, Comparison))
        yield from ((place, pair) for record in records if isinstance(record, Ranking) for pair in ranked_pairs(record))
        if data.kind == "grades":
            yield from ((place, pair) for pair in graded_pairs(r for r in records if isinstance(r, Grade)))


def _examples(
    records: Sequence[Record], refused: set[Place], places: Sequence[Place], template: ChatTemplate | None
) -> list[Example]:
    """The first record that can be rendered; both sides of a comparison."""
    record = next((r for r, place in zip(records, places, strict=True) if place not in refused), None)
    if record is None:
        return []
    if isinstance(record, Prompt):
        return [Example("prompt", _pieces(record, None, template))]
    titles = {Comparison: ("chosen", "rejected"), Demonstration: ("demonstration",)}.get(type(record), ("response",))
    texts = _responses(record)[: len(titles)]
    return [Example(title, _pieces(record.prompt, text, template)) for title, text in zip(titles, texts, strict=True)]


def _pieces(prompt: Prompt, response: str | None, template: ChatTemplate | None) -> list[tuple[str, bool]]:
    if template is not None:
        return [(token.text, token.supervised) for token in template.describe(prompt, response)]
    pieces = [(f"{message.role}: {message.content}\n", False) for message in prompt.messages]
    return pieces if response is None else [*pieces, ("assistant: ", False), (response, True)]


def _prompt(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def _responses(record: Record) -> tuple[str, ...]:
    match record:
        case Prompt():
            return ()
        case Comparison():
            return (record.chosen, record.rejected)
        case Ranking():
            return record.responses
        case _:
            return (record.response,)
