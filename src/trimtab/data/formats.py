"""Any data file as records: the format is found from the columns, never asked for.

`read` gives what a file holds; `read_demonstrations`, `read_comparisons`, `read_rankings`, `read_grades` and
`read_prompts` give what a training stage needs, converted where that is honest, or say what to do where it is not. Rows
are read when they are asked for and none is kept, so a file may be larger than memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from statistics import pstdev
from typing import Any

from trimtab.data.files import Place, Row, Watch, read_rows, unwatched
from trimtab.data.messages import RowError
from trimtab.data.on_disk import Groups
from trimtab.data.seen import Numbering
from trimtab.data.shapes import SHAPES, TEXT, Kind, Record, Shape, Values, find_shape
from trimtab.errors import DataError
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

_LOOK_AHEAD = 20  # rows looked at to find the format, so that one odd first row does not decide
_SHOWN = 5  # bad rows named in an error
# What other data sets call our columns: only for advice in error messages.
_SYNONYMS = {
    "prompt": ("question", "query", "instruction", "Question", "Instruction"),
    "completion": ("answer", "response", "output", "target", "Answer", "Response"),
}
# Why no comparison can be made of judgements, and what to do.
_NO_PAIRS: Mapping[Kind, str] = {
    "unpaired": ": verdicts on single responses. A reward model needs two responses to one prompt; put a better and a "
    "worse one in the columns prompt, chosen and rejected.",
    "grades": ", and no annotator graded two responses to one prompt, so none can be compared. A reward model learns "
    "from single grades with grade_loss: ordinal.",
}
_NO_RANKINGS = (
    ", not rankings. They need the columns prompt, responses and ranking; others a reward model learns from with "
    "ranking_loss: pairs."
)
_NO_GRADES = (
    ", not grades. They need the columns prompt, responses and scores; others a reward model learns from with "
    "grade_loss: pairs."
)
_NO_TEXT = ", not plain text. That is a .txt file, or rows with a column text."


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A row that was read: its place, its length in characters, and what it says, or why that cannot be read."""

    place: Place
    length: int
    records: Sequence[Record] = ()
    problem: str = ""


@dataclass(frozen=True)
class Dataset:
    """What a file holds, read anew each time one goes through it. It is the records of its good rows, in order.

    Going through them raises `DataError` at the end when a row was bad, and gives no record after the first bad row;
    with `skip_bad` such rows are left out. It also raises when there is not one record.
    """

    source: str
    shape: Shape
    columns: tuple[str, ...]
    renames: Mapping[str, str]
    skip_bad: bool
    watch: Watch

    @property
    def format(self) -> str:
        """The name of its format."""
        return self.shape.name

    @property
    def kind(self) -> Kind:
        """What its rows hold."""
        return self.shape.kind

    def rows(self) -> Iterator[ReadRow]:
        """Every row in file order, good or bad."""
        for row in _renamed(read_rows(self.source, self.watch), self.renames):
            try:
                read = ReadRow(row.place, row.length, _parse(row, self.shape))
            except RowError as error:
                read = ReadRow(row.place, row.length, problem=str(error))
            yield read

    def __iter__(self) -> Iterator[Record]:
        num_rows = num_bad = num_records = 0
        shown: list[BadRow] = []
        for row in self.rows():
            num_rows += 1
            if row.problem:
                num_bad += 1
                if num_bad <= _SHOWN:
                    shown.append(BadRow(row.place, row.problem))
            elif self.skip_bad or not num_bad:
                num_records += len(row.records)
                yield from row.records
        if num_bad and not self.skip_bad:
            raise DataError(self._bad_rows(num_rows, num_bad, shown))
        if not num_records:
            why = f": all {num_bad} are bad as {self.format}. The first, {shown[0]}" if num_bad else ""
            raise DataError(f"{self.source} holds not one usable row{why}.")

    def demonstrations(self) -> Iterator[Demonstration]:
        """The demonstrations; for comparisons use `comparisons`. Raises `DataError` when there are none."""
        return self._only(("demonstrations",), f", not responses to imitate. {_advice(self.columns)}")

    def comparisons(self) -> Iterator[Comparison]:
        """The comparisons; rankings and grades as all their pairs. Raises `DataError` when there are none."""
        problem = _NO_PAIRS.get(self.kind, ", not comparisons. They need the columns prompt, chosen and rejected.")
        records = self._only(("comparisons", "rankings", "grades"), problem)
        none = True
        for pair in _as_pairs(records, self.kind):
            none = False
            yield pair
        if none:
            raise DataError(self._what() + problem)

    def rankings(self) -> Iterator[Ranking]:
        """The rankings. Raises `DataError` when there are none."""
        return self._only(("rankings",), _NO_RANKINGS)

    def grades(self) -> Iterator[Grade]:
        """The grades. Raises `DataError` when there are none."""
        return self._only(("grades",), _NO_GRADES)

    def prompts(self) -> Iterator[Prompt]:
        """The prompts; those of judged or answered rows once each. Raises `DataError` when there are none."""
        seen = Numbering()
        for record in self:
            prompt = record if isinstance(record, Prompt) else record.prompt
            if not prompt.messages:  # which is so in every row of a format without prompts
                raise DataError(f"{self._what()} without prompts. Prompts need a column prompt.")
            if self.kind == "prompts" or seen.add(hash(prompt)):
                yield prompt

    def texts(self) -> Iterator[str]:
        """The plain texts. Raises `DataError` for what has a prompt or a judgement."""
        for record in self._only(("demonstrations",), _NO_TEXT):
            if self.shape is not TEXT:
                raise DataError(self._what() + _NO_TEXT)
            yield record.response

    def _only(self, kinds: tuple[Kind, ...], problem: str) -> Iterator[Any]:
        """The records, which must be of one of these kinds."""
        for record in self:
            if self.kind not in kinds:
                raise DataError(self._what() + problem)
            yield record

    def _what(self) -> str:
        return f"{self.source} holds {self.format} rows ({self.kind})"

    def _bad_rows(self, num_rows: int, num_bad: int, shown: Sequence[BadRow]) -> str:
        lines = "\n".join(f"  {row}" for row in shown)
        more = f"\n  and {num_bad - len(shown)} more" if num_bad > len(shown) else ""
        return (
            f"{num_bad} of {num_rows} rows of {self.source} cannot be read as {self.format}:\n{lines}{more}"
            f"\n`trimtab data check {self.source}` lists them all. Mend them, or leave them out: --skip-bad, in a "
            "recipe's stage skip_bad: true, in Python skip_bad=True."
        )


def read(
    source: str | Path,
    *,
    skip_bad: bool = False,
    columns: Mapping[str, str] | None = None,
    watch: Watch = unwatched,
) -> Dataset:
    """Look at the first rows of a file, a folder or `hf:owner/name:split`, and be ready to read it.

    `columns` renames: `{"prompt": "question"}` reads the file's `question` as the prompt. Raises `DataError` when the
    format is none that is known. Going through the result raises one that names file, line and reason of bad rows.
    """
    renames = columns or {}
    first = list(islice(_renamed(read_rows(source), renames), _LOOK_AHEAD))
    if not first:
        raise DataError(f"{source} is empty: there is not one row in it.")
    return Dataset(str(source), _detect(str(source), first), tuple(_columns(first)), renames, skip_bad, watch)


def read_demonstrations(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Demonstration]:
    """Prompts with the response to imitate; a conversation gives one for each assistant turn."""
    return read(source, skip_bad=skip_bad, columns=columns, watch=watch).demonstrations()


def read_comparisons(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Comparison]:
    """Comparisons from any preference format, votes, rankings (all pairs) or grades (all pairs, with margins)."""
    return read(source, skip_bad=skip_bad, columns=columns, watch=watch).comparisons()


def read_rankings(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Ranking]:
    """Rankings as they are; `read_comparisons` gives their pairs."""
    return read(source, skip_bad=skip_bad, columns=columns, watch=watch).rankings()


def read_grades(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Grade]:
    """Grades as they are, on the annotators' scale; `read_comparisons` gives their pairs."""
    return read(source, skip_bad=skip_bad, columns=columns, watch=watch).grades()


def read_prompts(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Prompt]:
    """The prompts of a file of any format."""
    return read(source, skip_bad=skip_bad, columns=columns, watch=watch).prompts()


def _as_pairs(records: Iterator[Any], kind: Kind) -> Iterator[Comparison]:
    if kind == "rankings":
        return (pair for ranking in records for pair in ranked_pairs(ranking))
    return graded_pairs(records) if kind == "grades" else records


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


def graded_pairs(grades: Iterable[Grade]) -> Iterator[Comparison]:
    """Every pair of responses that one annotator graded for one prompt; `margin` is the difference of the scores.

    Equal scores are a comparison with probability 1/2. Scores of different annotators are never compared: each has a
    scale of their own. So the margin is in deviations of that annotator's scores, which is the unit of a reward too.
    """
    scores: dict[str, array[float]] = {}

    def noted() -> Iterator[Grade]:
        for grade in grades:
            scores.setdefault(grade.annotator, array("d")).append(grade.score)
            yield grade

    groups = Groups(noted(), key=lambda grade: (grade.prompt, grade.annotator, grade.instructions_version))
    deviations = {annotator: pstdev(several) for annotator, several in scores.items()}
    for group in groups:
        yield from pairs_of_group(group, deviations[group[0].annotator])


def pairs_of_group(grades: Iterable[Grade], deviation: float) -> Iterator[Comparison]:
    """Every pair of one annotator's grades for one prompt, the better one first."""
    for a, b in combinations(sorted(grades, key=lambda grade: -grade.score), 2):
        if a.response != b.response:
            yield _graded_pair(a, b, deviation)


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
