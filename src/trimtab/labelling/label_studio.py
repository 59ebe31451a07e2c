"""Label Studio: tasks with `data` and `annotations[].result`, as its JSON export has them.

Format: labelstud.io/guide/task_format and the tags' pages there; a pairwise result is `selected: left` or `right`
(label-studio, `tags/control/Pairwise.js`), a ranking `ranker: {name: [ids]}` (`Ranker.jsx`). What an import takes:
label-studio, `tasks/serializers.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.data.files import read_rows
from trimtab.data.messages import RowError
from trimtab.labelling.entries import Entry, entry
from trimtab.labelling.foreign import NOBODY, REASON_NAMES, Said, labelled_item, list_of, object_of, texts_of
from trimtab.labelling.records import Kind, LabelledItem


def is_label_studio(row: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio's."""
    return isinstance(row.get("data"), Mapping)


def label_studio_entries(
    path: Path, *, kind: Kind | None, columns: Mapping[str, str], left_out: Counter[str]
) -> Iterator[Entry]:
    """The tasks of a file with what people answered."""

    def parse(row: Mapping[str, Any]) -> list[LabelledItem]:
        data = object_of(row.get("data"), "data")
        texts = texts_of({columns.get(name, name): value for name, value in data.items()})
        people = list(_people(list_of(row.get("annotations"), "annotations"), left_out))
        name = data.get("id") or row.get("id") or ""
        return [labelled_item(texts, people, id=str(name), kind=kind, left_out=left_out)]

    return (entry(row, parse) for row in read_rows(path))


def _people(annotations: Sequence[Any], left_out: Counter[str]) -> Iterator[Said]:
    for number, annotation in enumerate(annotations, start=1):
        if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
            raise RowError(f"annotation {number} must be an object with a list result")
        if annotation.get("was_cancelled"):
            left_out["skipped in Label Studio"] += 1
        else:
            yield _said(annotation)


def _said(annotation: Mapping[str, Any]) -> Said:
    """One annotation in neutral terms."""
    choices: list[str] = []
    ranking: Sequence[Any] = ()
    rating, text, reason = None, "", ""
    for result in annotation["result"]:
        value = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(value, Mapping):
            raise RowError("each result must be an object with a value")
        match result.get("type"):
            case "pairwise":
                choices.append(str(value.get("selected")))
            case "choices":
                choices += map(str, list_of(value.get("choices"), "choices"))
            case "rating":
                rating = value.get("rating")
            case "ranker":
                ranking = _ranked(value.get("ranker"))
            case "textarea":
                written = value.get("text")
                whole = written if isinstance(written, str) else "\n".join(map(str, list_of(written, "text")))
                if str(result.get("from_name")).lower() in REASON_NAMES:
                    reason = whole
                else:
                    text = whole
    seconds, at = annotation.get("lead_time") or 0.0, annotation.get("created_at") or ""
    return Said(_who(annotation), tuple(choices), tuple(ranking), rating, text, reason, seconds, str(at))


def _who(annotation: Mapping[str, Any]) -> str:
    """The annotator's name here, else their number in Label Studio. Names and addresses are not taken over."""
    who = annotation.get("completed_by")
    if annotation.get("annotator"):
        return str(annotation["annotator"])
    number = who.get("id") if isinstance(who, Mapping) else who
    return NOBODY if number is None else str(number)


def _ranked(value: Any) -> Sequence[Any]:
    """Ids best first, from one list of them, or from buckets that are called by their rank, 1 being the best."""
    if not isinstance(value, Mapping) or not all(isinstance(ids, list) for ids in value.values()):
        raise RowError("a ranker's value must be an object of lists of ids")
    buckets = {name: ids for name, ids in value.items() if name != "_"}
    if buckets and all(name.isascii() and name.isdigit() for name in buckets):
        return [buckets[name] for name in sorted(buckets, key=int) if buckets[name]]
    if len(buckets) != 1:
        raise RowError(f"a ranker's buckets must be called by their rank (1, 2, ...), not {', '.join(buckets)}")
    return next(iter(buckets.values()))
