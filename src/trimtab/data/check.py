"""What there is to know about a data file before a model is trained on it.

The file is read once, row by row. What is kept of a row is a few numbers: hashes tell what was seen before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, TypeVar

from trimtab.data.chat import ChatTemplate
from trimtab.data.files import Place
from trimtab.data.formats import BadRow, Dataset, ReadRow, pairs_of_group, ranked_pairs
from trimtab.data.on_disk import chunks
from trimtab.data.seen import FirstPlaces, Numbering, record_hash
from trimtab.data.shapes import Record
from trimtab.errors import UserError
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

T = TypeVar("T")

LONG_ROW = 50_000  # characters; far beyond what a model of a few thousand tokens of context can read
LISTED = 10_000  # findings of a sort that are listed; all are counted
QUANTILES = {"min": 0.0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}
_ROWS_AT_ONCE = 256  # a tokenizer is faster on many texts


@dataclass(frozen=True)
class Example:
    """One rendered example: pieces of text and whether the loss sees them."""

    title: str
    pieces: list[tuple[str, bool]]


@dataclass(frozen=True)
class Report:
    """The findings of `check`. Pairs of places are (where it was first seen, where it was seen again).

    The first 10,000 findings of a sort are listed; `not_listed` says how many more there are, by the list's name.
    """

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
    examples: list[Example]
    not_listed: dict[str, int]


def check(data: Dataset, template: ChatTemplate | None = None) -> Report:
    """Examine a data set. Its bad rows become part of the report.

    With a chat template lengths are in tokens, the example is what the model sees, and rows that the template refuses
    are bad rows; without one lengths are in words.
    """
    lengths, prompts, same, contradictions = _Lengths(template), Numbering(), _Repeats(), _Contradictions()
    long_rows, bad = _Findings[tuple[Place, int]](), _Findings[BadRow]()
    num_rows = num_records = 0
    examples: list[Example] = []
    for rows in chunks(data.rows(), _ROWS_AT_ONCE):
        for row, refusal in zip(rows, lengths.add(rows), strict=True):
            num_rows += 1
            num_records += len(row.records)
            if row.length > LONG_ROW:
                long_rows.add((row.place, row.length))
            if problem := row.problem or refusal:
                bad.add(BadRow(row.place, problem))
            elif row.records and not examples:
                examples = _examples(row.records[0], template)
            for record in row.records:
                prompts.add(hash(_prompt(record)))
            same.add(row)
            contradictions.add(row)
    found: dict[str, _Findings[Any]] = {"duplicates": same.found, "contradictions": contradictions.found}
    found |= {"long_rows": long_rows, "bad": bad}
    return Report(
        source=data.source,
        format=data.format,
        kind=data.kind,
        columns=data.columns,
        rows=num_rows,
        records=num_records,
        distinct_prompts=len(prompts),
        unit="words" if template is None else "tokens",
        lengths=lengths.quantiles(),
        duplicates=same.found.listed,
        contradictions=contradictions.found.listed,
        long_rows=long_rows.listed,
        bad=bad.listed,
        examples=examples,
        not_listed={name: sort.not_listed for name, sort in found.items() if sort.not_listed},
    )


class _Findings(Generic[T]):
    """The first of many findings, and how many more there are."""

    def __init__(self) -> None:
        self.listed: list[T] = []
        self.not_listed = 0

    def add(self, finding: T) -> None:
        if len(self.listed) < LISTED:
            self.listed.append(finding)
        else:
            self.not_listed += 1


class _Lengths:
    """How often each length of a prompt and of a response occurs."""

    def __init__(self, template: ChatTemplate | None) -> None:
        self._template = template
        self._counts: dict[str, Counter[int]] = {"prompt": Counter(), "response": Counter()}

    def add(self, rows: Sequence[ReadRow]) -> list[str]:
        """Measure rows; returns for each why the template refuses it, or an empty text."""
        refusals = iter(self._measure([record for row in rows for record in row.records]))
        return [next(filter(None, [next(refusals) for _ in row.records]), "") for row in rows]

    def quantiles(self) -> dict[str, dict[str, int]]:
        return {name: _quantiles(counts) for name, counts in self._counts.items() if counts}

    def _measure(self, records: Sequence[Record]) -> list[str]:
        try:
            prompts = self._prompt_lengths([_prompt(record) for record in records])
            responses = self._response_lengths([text for record in records for text in _responses(record)])
        except UserError as error:
            if len(records) == 1:
                return [str(error)]
            return [refusal for record in records for refusal in self._measure([record])]
        self._counts["prompt"].update(prompts)
        self._counts["response"].update(responses)
        return [""] * len(records)

    def _prompt_lengths(self, prompts: Sequence[Prompt]) -> Iterable[int]:
        if self._template is None:
            return [sum(len(message.content.split()) for message in prompt.messages) for prompt in prompts]
        return map(len, self._template.encode_prompts(prompts))

    def _response_lengths(self, texts: Sequence[str]) -> Iterable[int]:
        if self._template is None:
            return [len(text.split()) for text in texts]
        return map(len, self._template.encode_responses(texts))


def _quantiles(counts: Counter[int]) -> dict[str, int]:
    """Quantiles that are values themselves (nearest rank)."""
    values = sorted(counts)
    ends = list(accumulate(counts[value] for value in values))
    return {name: values[bisect_right(ends, round(share * (ends[-1] - 1)))] for name, share in QUANTILES.items()}


class _Repeats:
    """Records that say the same as an earlier row."""

    def __init__(self) -> None:
        self._first = FirstPlaces()
        self.found = _Findings[tuple[Place, Place]]()

    def add(self, row: ReadRow) -> None:
        for record in row.records:
            first = self._first.first(record_hash(record), row.place)
            if first != row.place:
                self.found.add((first, row.place))


class _Contradictions:
    """Comparisons of the same two responses to the same prompt that prefer different ones."""

    def __init__(self) -> None:
        self._first = FirstPlaces()
        self.found = _Findings[tuple[Place, Place]]()

    def add(self, row: ReadRow) -> None:
        for pair in _pairs(row.records):
            if pair.probability == 0.5:
                continue
            better, worse = (pair.chosen, pair.rejected)[:: 1 if pair.probability > 0.5 else -1]
            opposite = self._first.find(hash((pair.prompt, worse, better)))
            if opposite is not None:
                self.found.add((opposite, row.place))
            self._first.first(hash((pair.prompt, better, worse)), row.place)


def _pairs(records: Sequence[Record]) -> Iterator[Comparison]:
    """Every comparison that one row makes."""
    yield from (record for record in records if isinstance(record, Comparison))
    yield from (pair for record in records if isinstance(record, Ranking) for pair in ranked_pairs(record))
    yield from pairs_of_group([record for record in records if isinstance(record, Grade)], deviation=1.0)


def _examples(record: Record, template: ChatTemplate | None) -> list[Example]:
    """A record as the model sees it; both sides of a comparison."""
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
