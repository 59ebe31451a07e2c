"""Taking items and labels into a project, from `labels.jsonl`, other tools' exports, or data for training.

The format is found from what the first rows look like. All of a file comes in, or, when anything is wrong, nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from trimtab.data.files import read_rows
from trimtab.data.formats import read
from trimtab.errors import DataError, LabellingError
from trimtab.labelling import labels_file
from trimtab.labelling.argilla import argilla_entries, is_argilla, is_folder
from trimtab.labelling.data_items import NONE, Amount, data_entries
from trimtab.labelling.entries import Entry, checked, content
from trimtab.labelling.foreign import SECOND
from trimtab.labelling.label_studio import is_label_studio, label_studio_entries
from trimtab.labelling.records import Kind, LabelledItem
from trimtab.labelling.store import Store

Format = Literal["jsonl", "trl", "argilla", "label-studio", "comparisons", "prompts"]
FORMATS: tuple[Format, ...] = get_args(Format)
KINDS: tuple[Kind, ...] = get_args(Kind)
_WITH_LABELS: Mapping[str, str] = {
    "jsonl": labels_file.NAME,
    "argilla": "Argilla records",
    "label-studio": "Label Studio tasks",
}


@dataclass
class Source:
    """Items with their labels, read anew each time one goes through them; `left_out` is what was, once one did."""

    path: str
    format: Format
    entries: Callable[[Counter[str]], Iterator[Entry]]
    skip_bad: bool
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[LabelledItem]:
        self.left_out.clear()
        name = _WITH_LABELS.get(self.format, "items")
        return checked(self.entries(self.left_out), self.path, name, skip_bad=self.skip_bad)


@dataclass(frozen=True, slots=True)
class Imported:
    """How many items and labels were new, how many items the project had before, and what was left out, and why."""

    format: Format
    items: int
    known_items: int
    labels: int
    left_out: Mapping[str, int]


def import_file(
    store: Store,
    path: str | Path,
    *,
    format: str = "auto",
    kind: str = "auto",
    gold: Amount = NONE,
    quiz: Amount = NONE,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
) -> Imported:
    """Take the items and labels of a file into a project: all of them, or none if a row is bad.

    Items the project has stay as they are, and so does a person's first label of an item. Raises `DataError` and
    `LabellingError` as `open_source`, and for an id that is another item's in the project.
    """
    return import_source(
        store,
        open_source(
            path, format=format, kind=kind, gold=gold, quiz=quiz, seed=seed, columns=columns, skip_bad=skip_bad
        ),
    )


def open_source(
    path: str | Path,
    *,
    format: str = "auto",
    kind: str = "auto",
    gold: Amount = NONE,
    quiz: Amount = NONE,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
) -> Source:
    """Be ready to read items and labels from a file or folder.

    `kind`, `gold` and `quiz` say what becomes of data that has no labels (`data_items.data_entries`). `columns` renames
    as everywhere: `{"prompt": "question"}`. Raises `DataError` for a file of a format that is none that is known, and
    `LabellingError` for what does not go together.
    """
    file, renames = Path(path), columns or {}
    wanted = None if kind == "auto" else _one_of(kind, KINDS, "kind of item")
    found = _find_format(file, renames) if format == "auto" else _one_of(format, FORMATS, "format")
    if found in _WITH_LABELS and (gold, quiz) != (NONE, NONE):
        raise LabellingError(
            f"gold items and a quiz are made of data that has no labels yet, and {path} is read as "
            f"{_WITH_LABELS[found]}"
        )
    if found == "jsonl":
        if wanted or renames:
            raise LabellingError(f"{path}: a line of {labels_file.NAME} says what it is; no kind, no renamed columns")
        return Source(str(path), found, lambda _: labels_file.entries(read_rows(file)), skip_bad)
    if found in _WITH_LABELS:
        reader = argilla_entries if found == "argilla" else label_studio_entries
        theirs = {name: ours for ours, name in renames.items()}
        return Source(str(path), found, lambda out: reader(file, kind=wanted, columns=theirs, left_out=out), skip_bad)
    dataset = read(path, columns=renames)
    if found == "prompts" and dataset.kind != "prompts":
        wanted = wanted or "demonstrate"
    return Source(str(path), found, lambda _: data_entries(dataset, wanted, gold=gold, quiz=quiz, seed=seed), skip_bad)


def import_source(store: Store, source: Source) -> Imported:
    """Take what a source holds into a project: all of it, or nothing if it raises."""
    known = {one.item.key: content(one.item) for one in store.labelled_items()}
    before, again, num_labels = set(known), set[str](), 0

    def compared() -> Iterator[LabelledItem]:
        nonlocal num_labels
        for one in source:
            key, hashed = one.item.key, content(one.item)
            if key in before:
                again.add(key)
            if known.setdefault(key, hashed) != hashed:
                raise DataError(
                    f"{source.path}: the id {key!r} is another item's in this project. Nothing was taken in; give the "
                    "new items ids of their own"
                )
            num_labels += len(one.labels)
            yield one

    labels = store.add_labels(compared())
    left_out = Counter(source.left_out)
    if num_labels > labels:
        left_out[SECOND] += num_labels - labels
    return Imported(source.format, len(known) - len(before), len(again), labels, dict(left_out))


def _one_of(given: str, known: tuple[Any, ...], what: str) -> Any:
    if given not in known:
        raise LabellingError(f"there is no {what} {given!r}; there are {', '.join(known)}")
    return given


def _find_format(path: Path, columns: Mapping[str, str]) -> Format:
    if path.is_dir() and is_folder(path):
        return "argilla"
    row = next((row.value for row in read_rows(path) if not row.problem), {})
    if labels_file.is_labels(row):
        return "jsonl"
    if is_argilla(row):
        return "argilla"
    if is_label_studio(row):
        return "label-studio"
    try:
        kind = read(path, columns=columns).kind
    except DataError as error:
        raise DataError(
            f"{error}\nLabels are read from {labels_file.NAME} (item, labels), Argilla records (fields, responses) and "
            "Label Studio tasks (data, annotations)."
        ) from None
    return "prompts" if kind == "prompts" else "comparisons"
