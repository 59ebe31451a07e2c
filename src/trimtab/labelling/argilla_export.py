"""A folder that `rg.Dataset.from_disk` of Argilla 2 reads: dataset.json, settings.json, records.json.

Argilla takes responses only from users it knows, by their UUID. So labels of annotators whose name is one, as those are
who came from Argilla, go out as responses; those of others do not. Everyone's majority goes out as a suggestion.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from trimtab.errors import DataError, LabellingError
from trimtab.files import sync
from trimtab.labelling.argilla import RECORDS, SETTINGS
from trimtab.labelling.exporting import Summary, Tally
from trimtab.labelling.foreign import BOTH_BAD, BY_FAR, FLAGS, TIE, TOO_HARD, choice_of, remarks_of
from trimtab.labelling.records import (
    Answer,
    Compared,
    Graded,
    Kind,
    Label,
    LabelledItem,
    Ranked,
    TooHard,
    Written,
)
from trimtab.labelling.writing import write_json

NOT_A_USER = "by annotators who are no users of Argilla (it knows users by their UUID)"
TIES = "rankings with ties (a ranking in Argilla's files is one list)"
OTHER_NUMBER = "on items with another number of responses (a question in Argilla ranks a fixed number)"
_PREFERENCES = {
    "response_1" + BY_FAR: "Response 1 by far",
    "response_1": "Response 1",
    TIE: "Neither is better",
    "response_2": "Response 2",
    "response_2" + BY_FAR: "Response 2 by far",
}
QUESTIONS: dict[Kind, str] = {
    "compare": "preference",
    "rank": "ranking",
    "grade": "score",
    "demonstrate": "demonstration",
    "edit": "edited",
}
"""The main question of each kind of item. Argilla has no question whose answer is a dialogue."""


def write_argilla(labelled: Sequence[LabelledItem], folder: Path, *, guidelines: str = "") -> Summary:
    """Write a data set of Argilla's. Its items are of one kind, as a data set there has one form.

    Raises `LabellingError` for items of several kinds, of red-teaming, or none, and `DataError` for a folder that is
    there.
    """
    kind = one_kind(labelled, QUESTIONS)
    tally = Tally()
    number = _num_responses(labelled)
    records = []
    for one in labelled:
        if kind == "rank" and len(one.item.responses) != number:
            tally.left_out[OTHER_NUMBER] += len(one.labels)
        else:
            records.append(_record(one, tally))
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in folder.name).strip("_") or "labels"
    files = {
        "dataset.json": {"name": name, "guidelines": guidelines or None, "allow_extra_metadata": False},
        SETTINGS: _settings(kind, number, guidelines),
        RECORDS: records,
    }
    _write_folder(folder, files)
    return tally.summary(len(records))


def one_kind(labelled: Sequence[LabelledItem], can: dict[Kind, str]) -> Kind:
    """The kind that all items are of."""
    kinds = Counter(one.item.kind for one in labelled)
    if not kinds:
        raise LabellingError("There is nothing to export: no items")
    if len(kinds) > 1:
        found = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
        raise LabellingError(f"One form cannot show items of several kinds ({found}). Choose one: --kind {min(kinds)}")
    (kind,) = kinds
    if kind not in can:
        raise LabellingError(f"Items of kind {kind} cannot be shown there; --format red-team writes the dialogues")
    return kind


def _num_responses(labelled: Sequence[LabelledItem]) -> int:
    """How many responses most items have."""
    return Counter(len(one.item.responses) for one in labelled).most_common(1)[0][0]


def _record(one: LabelledItem, tally: Tally) -> dict[str, Any]:
    fields: dict[str, Any] = {"prompt": [turn.model_dump() for turn in one.item.prompt]}
    fields |= {f"response_{n}": text for n, text in enumerate(one.item.responses, start=1)}
    responses: dict[str, list[dict[str, Any]]] = {}
    for label in one.labels:
        reason = _why_not(label)
        if reason:
            tally.left_out[reason] += 1
            continue
        tally.add([label.final])
        for question, value in _values(label.final).items():
            given = {"value": value, "user_id": label.annotator, **_status(label.final)}
            responses.setdefault(question, []).append(given)
    return {
        "id": one.item.key,
        "fields": fields,
        "metadata": {},
        "suggestions": _suggestion(one),
        "responses": responses,
        "vectors": {},
    }


def _why_not(label: Label) -> str:
    if isinstance(label.final, Ranked) and any(len(tier) > 1 for tier in label.final.tiers):
        return TIES
    try:
        UUID(label.annotator)
    except ValueError:
        return NOT_A_USER
    return ""


def _status(answer: Answer) -> dict[str, str]:
    """Argilla refuses rankings without ranks as submitted, and its own files have none: they come in as drafts."""
    if isinstance(answer, Ranked):
        return {}
    return {"status": "discarded" if isinstance(answer, TooHard) else "submitted"}


def _values(answer: Answer) -> dict[str, Any]:
    """The answer to each question."""
    values: dict[str, Any] = {}
    if not isinstance(answer, TooHard):
        values = {QUESTIONS[answer.kind]: _value(answer)}
    remarks = remarks_of(answer)
    return values | ({"remarks": remarks} if remarks else {}) | ({"reason": answer.reason} if answer.reason else {})


def _value(answer: Answer) -> Any:
    match answer:
        case Compared():
            return choice_of(answer)
        case Ranked():
            return [f"response_{tier[0] + 1}" for tier in answer.tiers]
        case Graded():
            return answer.score
        case Written():
            return answer.text
    raise AssertionError(f"no question for {answer.kind}")


def _suggestion(one: LabelledItem) -> dict[str, Any]:
    """What most said, with the share of those who did. None where no answer was given more often than another."""
    if one.item.kind not in ("compare", "grade"):
        return {}
    said = Counter(_value(label.final) for label in one.labels if not isinstance(label.final, TooHard))
    first, second = [*said.most_common(2), (None, 0), (None, 0)][:2]
    if first[1] == second[1]:
        return {}
    score = first[1] / said.total()
    return {QUESTIONS[one.item.kind]: {"value": first[0], "score": score, "agent": "majority of annotators"}}


def _settings(kind: Kind, number: int, guidelines: str) -> dict[str, Any]:
    fields = [_property("prompt", {"type": "chat", "use_markdown": False})]
    for n in range(1, number + 1):
        fields.append(_property(f"response_{n}", {"type": "text", "use_markdown": False}))
    remarks = [(name, name.replace("_", " ").capitalize()) for name in (BOTH_BAD, TOO_HARD, *FLAGS)]
    questions = [
        _property(QUESTIONS[kind], _MAIN[kind](number)),
        _property("remarks", {"type": "multi_label_selection", "options": _options(remarks)}, required=False),
        _property("reason", {"type": "text", "use_markdown": False}, required=False),
    ]
    return {
        "guidelines": guidelines or None,
        "allow_extra_metadata": False,
        "fields": fields,
        "questions": questions,
        "metadata": [],
        "vectors": [],
    }


def _property(name: str, settings: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    title = name.replace("_", " ").capitalize()
    return {"name": name, "title": title, "required": required, "settings": settings}


def _options(options: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"value": value, "text": text} for value, text in options]


_MAIN: dict[Kind, Any] = {
    "compare": lambda number: {"type": "label_selection", "options": _options([*_PREFERENCES.items()])},
    "rank": lambda number: {
        "type": "ranking",
        "options": _options([(f"response_{n}", f"Response {n}") for n in range(1, number + 1)]),
    },
    "grade": lambda number: {"type": "rating", "options": [{"value": score} for score in range(1, 8)]},
    "demonstrate": lambda number: {"type": "text", "use_markdown": False},
    "edit": lambda number: {"type": "text", "use_markdown": False},
}


def _write_folder(folder: Path, files: dict[str, Any]) -> None:
    """Write files into a new folder that is there whole or not at all."""
    if folder.exists():
        raise DataError(f"{folder} is there already; Argilla's files go into a new folder")
    partial = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, value in files.items():
            write_json(partial / name, value)
        os.replace(partial, folder)
        sync(folder.parent)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from error
