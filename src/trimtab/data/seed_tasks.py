"""Tasks written as an instruction with instances, from which others are made (Self-Instruct, arXiv 2212.10560)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.data.files import Place, Watch, read_rows, unwatched
from trimtab.errors import DataError


@dataclass(frozen=True, slots=True)
class Instance:
    """One case of a task. `input` is empty where the instruction says everything."""

    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction, its instances, and whether its answers are one of few labels.

    A task that a model wrote has the round it came in, the ids of the examples it was shown (`parents`), and its
    ROUGE-L F to the nearest seed.
    """

    id: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool = False
    round: int = 0
    parents: tuple[str, ...] = ()
    nearest_seed: float = 0.0


def read_seed_tasks(
    source: str | Path, *, skip_bad: bool = False, columns: Mapping[str, str] | None = None, watch: Watch = unwatched
) -> Iterator[Task]:
    """The tasks of a file with the columns instruction, input and output, or instances that hold the latter two.

    `id` and `is_classification` may be there too. Raises `DataError` naming the first row that is none, unless
    `skip_bad`, and when there is not one task.
    """
    names = columns or {}
    found = 0
    for row in read_rows(source, watch):
        try:
            if row.problem:
                raise ValueError(row.problem)
            task = _task({**row.value, **{ours: row.value.get(theirs) for ours, theirs in names.items()}}, row.place)
        except ValueError as error:
            if not skip_bad:
                raise DataError(f"{row.place}: {error}. Mend the row, or leave it out with skip_bad: true") from error
        else:
            found += 1
            yield task
    if not found:
        raise DataError(f"{source} holds not one seed task: rows with instruction, input (may be empty) and output")


def _task(values: Mapping[str, Any], place: Place) -> Task:
    instances = values.get("instances", [values])
    if not isinstance(instances, list) or not instances or not all(isinstance(one, Mapping) for one in instances):
        raise ValueError("instances must be a list of input and output")
    label = values.get("is_classification", False)
    if not isinstance(label, bool):
        raise ValueError(f"is_classification must be true or false, not {label!r}")
    return Task(
        id=str(values.get("id") or f"seed-{place.number}"),
        instruction=_text(values, "instruction"),
        instances=tuple(Instance(_text(one, "input", may_be_empty=True), _text(one, "output")) for one in instances),
        is_classification=label,
    )


def _text(values: Mapping[str, Any], name: str, *, may_be_empty: bool = False) -> str:
    value = values.get(name)
    if value is None and may_be_empty:
        return ""
    if not isinstance(value, str) or not (value.strip() or may_be_empty):
        raise ValueError(f"a seed task needs text as its {name}, not {value!r}")
    return value.strip()
