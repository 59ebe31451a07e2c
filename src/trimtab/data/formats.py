"""Any data file as records: the format is found from the columns, never asked for.

`read` gives what a file holds; `read_demonstrations`, `read_comparisons` and `read_prompts` give what a training stage
needs, converted where that is honest, or say what to do where it is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, islice
from pathlib import Path
from statistics import pstdev

from trimtab.data.files import Place, Row, read_rows
from trimtab.data.messages import RowError
from trimtab.data.shapes import SHAPES, Kind, Record, Shape, Values, find_shape
from trimtab.errors import DataError
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

_LOOK_AHEAD = 20  # rows looked at to find the format, so that one odd first row does not decide
_SHOWN = 5  # bad rows named in an error
# What other data sets call our columns: only for advice in error messages.
_SYNONYMS = {
    "prompt": ("question", "query", "instruction", "Question", "Instruction"),
    "completion": ("answer", "response", "output", "target", "Answer", "Response"),
}


@dataclass(frozen=True)
class BadRow:
    """A row that was not read, and why."""

    place: Place
    reason: str

    @property
    def line(self) -> int:
        """Its number, from 1: a line of a text file, an item of a JSON list, a row of a table."""
        return self.place.number

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """What a file holds: `records` in file order, `places[i]` where record i stands, `bad` what was dropped."""

    source: str
    format: str
    kind: Kind
    columns: tuple[str, ...]
    records: list[Record] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    lengths: list[tuple[Place, int]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)

    def demonstrations(self) -> list[Demonstration]:
        """The demonstrations; for comparisons use `read_comparisons`. Raises `DataError` when there are none."""
        self._stop_if_empty()
        found = [record for record in self.records if isinstance(record, Demonstration)]
        if not found:
            raise DataError(f"{self._what()}, not responses to imitate. {_advice(self.columns)}")
        return found

    def comparisons(self) -> list[Comparison]:
        """The comparisons; rankings and grades as all their pairs. Raises `DataError` when there are none."""
        self._stop_if_empty()
        found: list[Comparison] = []
        if self.kind == "comparisons":
            found = [record for record in self.records if isinstance(record, Comparison)]
        elif self.kind == "rankings":
            found = [pair for record in self.records if isinstance(record, Ranking) for pair in ranked_pairs(record)]
        elif self.kind == "grades":
            found = graded_pairs(record for record in self.records if isinstance(record, Grade))
        elif self.kind == "unpaired":
            raise DataError(
                f"{self._what()}: verdicts on single responses. A reward model needs two responses to one prompt; put "
                "a better and a worse one in the columns prompt, chosen and rejected."
            )
        if not found:
            raise DataError(f"{self._what()}, not comparisons. They need the columns prompt, chosen and rejected.")
        return found

    def prompts(self) -> list[Prompt]:
        """The prompts; those of judged or answered rows once each. Raises `DataError` when there are none."""
        self._stop_if_empty()
        found = [record if isinstance(record, Prompt) else record.prompt for record in self.records]
        if self.kind != "prompts":
            found = list(dict.fromkeys(found))
        if not any(prompt.messages for prompt in found):
            raise DataError(f"{self._what()} without prompts. Prompts need a column prompt.")
        return found

    def _stop_if_empty(self) -> None:
        if not self.records:
            why = f": all {len(self.bad)} are bad as {self.format}. The first, {self.bad[0]}" if self.bad else ""
            raise DataError(f"{self.source} holds not one usable row{why}.")

    def _what(self) -> str:
        return f"{self.source} holds {self.format} rows ({self.kind})"


def read(source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read a file, a folder or `hf:owner/name:split`.

    `columns` renames: `{"prompt": "question"}` reads the file's `question` as the prompt. Raises `DataError` that names
    file, line and reason when a row is bad; with `skip_bad` such rows are left out and listed in `.bad`.
    """
    rows = _renamed(read_rows(source), columns or {})
    first = list(islice(rows, _LOOK_AHEAD))
    if not first:
        raise DataError(f"{source} is empty: there is not one row in it.")
    shape = _detect(str(source), first)
    data = Dataset(str(source), shape.name, shape.kind, tuple(_columns(first)))
    for row in chain(first, rows):
        data.lengths.append((row.place, row.length))
        try:
            records = _parse(row, shape)
        except RowError as error:
            data.bad.append(BadRow(row.place, str(error)))
        else:
            data.records.extend(records)
            data.places.extend([row.place] * len(records))
    if data.bad and not skip_bad:
        raise DataError(_bad_rows(data))
    if not skip_bad:
        data._stop_if_empty()
    return data


def read_demonstrations(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None
) -> list[Demonstration]:
    """Prompts with the response to imitate; a conversation gives one for each assistant turn."""
    return read(source, skip_bad=skip_bad, columns=columns).demonstrations()


def read_comparisons(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None
) -> list[Comparison]:
    """Comparisons from any preference format, votes, rankings (all pairs) or grades (all pairs, with margins)."""
    return read(source, skip_bad=skip_bad, columns=columns).comparisons()


def read_prompts(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None
) -> list[Prompt]:
    """The prompts of a file of any format."""
    return read(source, skip_bad=skip_bad, columns=columns).prompts()


def ranked_pairs(ranking: Ranking) -> list[Comparison]:
    """Every pair of a ranking, the better one first; two of a tier are a comparison with probability 1/2."""
    tier = {index: number for number, indices in enumerate(ranking.tiers) for index in indices}
    order = [index for indices in ranking.tiers for index in indices]
    who = (ranking.annotator,) if ranking.annotator else ()
    return [
        Comparison(
            ranking.prompt,
            ranking.responses[a],
            ranking.responses[b],
            probability=0.5 if tier[a] == tier[b] else 1.0,
            annotators=who,
            instructions_version=ranking.instructions_version,
        )
        for a, b in combinations(order, 2)
    ]


def graded_pairs(grades: Iterable[Grade]) -> list[Comparison]:
    """Every pair of responses that one annotator graded for one prompt; `margin` is the difference of the scores.

    Equal scores are a comparison with probability 1/2. Scores of different annotators are never compared: each has a
    scale of their own. So the margin is in deviations of that annotator's scores, which is the unit of a reward too.
    """
    grades = list(grades)
    scales: dict[str, list[float]] = {}
    groups: dict[tuple[Prompt, str, str], list[Grade]] = {}
    for grade in grades:
        scales.setdefault(grade.annotator, []).append(grade.score)
        groups.setdefault((grade.prompt, grade.annotator, grade.instructions_version), []).append(grade)
    deviations = {annotator: pstdev(scores) for annotator, scores in scales.items()}
    pairs = []
    for group in groups.values():
        for a, b in combinations(sorted(group, key=lambda grade: -grade.score), 2):
            if a.response != b.response:
                pairs.append(_graded_pair(a, b, deviations[a.annotator]))
    return pairs


def _graded_pair(better: Grade, worse: Grade, deviation: float) -> Comparison:
    return Comparison(
        better.prompt,
        better.response,
        worse.response,
        probability=0.5 if better.score == worse.score else 1.0,
        margin=(better.score - worse.score) / deviation if better.score != worse.score else 0.0,
        annotators=(better.annotator,) if better.annotator else (),
        instructions_version=better.instructions_version,
    )


def _detect(source: str, rows: Sequence[Row]) -> Shape:
    """The format that most of the first rows have; the more particular one when two are equally common."""
    shapes = [shape for row in rows if not row.problem and (shape := find_shape(row.value)) is not None]
    if shapes:
        counts = Counter(shape.name for shape in shapes)
        return max(SHAPES, key=lambda shape: counts[shape.name])
    readable = [row for row in rows if not row.problem]
    if not readable:
        raise DataError(f"No row of {source} can be read. {rows[0].place}: {rows[0].problem}.")
    columns = _columns(readable)
    known = "".join(f"\n  {shape.name}: {', '.join(shape.needs)}" for shape in SHAPES)
    raise DataError(
        f"{source} is in no format trimtab knows. Its columns are {_listed(columns)}. {_advice(columns)} Known formats "
        f"and the columns they need:{known}"
    )


def _advice(columns: Sequence[str]) -> str:
    """How to read the file with columns renamed, as far as their names tell what they are."""
    if "instruction" in columns and "context" in columns and "response" in columns:
        renames = ["input=context", "output=response"]
    else:
        likely = {ours: [name for name in names if name in columns] for ours, names in _SYNONYMS.items()}
        renames = [f"{ours}={names[0]}" for ours, names in likely.items() if names and ours not in columns]
    if not renames:
        renames, when = ["prompt=THEIR_NAME"], "the data is there under other names"
    else:
        when = "the names mean what they say"
    options = " ".join(f"--columns {rename}" for rename in renames)
    return f"If {when}, rename them: {options}, or in a recipe's stage {_setting(renames)}."


def _setting(renames: Iterable[str]) -> str:
    """The same renames as a recipe's stage has them."""
    return f"columns: {{{', '.join(rename.replace('=', ': ') for rename in renames)}}}"


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:12]) or "(none)"
    return f"{shown} and {len(columns) - 12} more" if len(columns) > 12 else shown


def _parse(row: Row, shape: Shape) -> Sequence[Record]:
    if row.problem:
        raise RowError(row.problem)
    missing = shape.missing(row.value)
    if missing:
        state = "empty" if missing[0] in row.value else f"missing (columns: {_listed(list(row.value))})"
        raise RowError(f"the column {missing[0]!r}, which the format {shape.name} needs, is {state}")
    return shape.records(row.value)


def _columns(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(str(name) for row in rows for name in row.value))


def _renamed(rows: Iterator[Row], columns: Mapping[str, str]) -> Iterator[Row]:
    theirs = {name: ours for ours, name in columns.items()}
    for row in rows:
        missing = [name for name in theirs if name not in row.value and not row.problem]
        if missing:
            problem = f"there is no column {missing[0]!r} to rename (columns: {_listed(list(row.value))})"
            yield Row(row.place, {}, row.length, problem)
        elif theirs:
            yield Row(row.place, _rename(row.value, theirs), row.length, row.problem)
        else:
            yield row


def _rename(row: Values, theirs: Mapping[str, str]) -> Values:
    """Renamed columns take the place of columns that had the name before."""
    kept = {name: value for name, value in row.items() if name not in theirs and name not in theirs.values()}
    return kept | {theirs[name]: value for name, value in row.items() if name in theirs}


def _bad_rows(data: Dataset) -> str:
    shown = "\n".join(f"  {row}" for row in data.bad[:_SHOWN])
    more = f"\n  and {len(data.bad) - _SHOWN} more" if len(data.bad) > _SHOWN else ""
    return (
        f"{len(data.bad)} of {len(data.lengths)} rows of {data.source} cannot be read as {data.format}:\n{shown}{more}"
        f"\n`trimtab data check {data.source}` lists them all. Mend them, or leave them out: --skip-bad, in a recipe's "
        "stage skip_bad: true, in Python skip_bad=True."
    )
