"""Argilla 2: records with fields, responses and suggestions, as `Dataset.to_disk` and the hub's folders hold them.

Format: argilla 2's sources, `records/_resource.py` (a record), `records/_io/_generic.py` (a flattened one),
`datasets/_export/_disk.py` (a folder), `_models/_settings` (settings). Which records a server takes:
`argilla_server/validators/response_values.py`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.data.files import Row, read_rows
from trimtab.data.messages import RowError
from trimtab.errors import DataError
from trimtab.labelling.entries import Entry, entry
from trimtab.labelling.foreign import NOBODY, REASON_NAMES, SECOND, Said, labelled_item, list_of, object_of, texts_of
from trimtab.labelling.records import Kind, LabelledItem

HUB_FOLDER, SETTINGS, RECORDS = ".argilla", "settings.json", "records.json"
_OF_THE_RECORD = {"id", "status", "inserted_at", "updated_at", "_server_id"}
_ANSWERS = re.compile(r"(.+)\.responses")


def is_argilla(row: Mapping[str, Any]) -> bool:
    """Whether a row is a record of Argilla's, nested or flattened."""
    nested = isinstance(row.get("fields"), Mapping) and bool({"responses", "suggestions", "metadata"} & set(row))
    return nested or any(isinstance(name, str) and _ANSWERS.fullmatch(name) for name in row)


def is_folder(path: Path) -> bool:
    """Whether a folder is one that Argilla wrote."""
    return (path / HUB_FOLDER).is_dir() or ((path / RECORDS).is_file() and (path / SETTINGS).is_file())


def argilla_entries(
    path: Path, *, kind: Kind | None, columns: Mapping[str, str], left_out: Counter[str]
) -> Iterator[Entry]:
    """The records of a file or folder with what people answered."""
    types = _question_types(path)

    def parse(row: Mapping[str, Any]) -> list[LabelledItem]:
        record = row if isinstance(row.get("fields"), Mapping) else _nested(row)
        fields = {columns.get(name, name): value for name, value in record["fields"].items()}
        texts = texts_of({name: value for name, value in fields.items() if value is not None})
        people = _people(object_of(record.get("responses"), "responses"), types, left_out)
        return [labelled_item(texts, people, id=str(record.get("id") or ""), kind=kind, left_out=left_out)]

    return (entry(row, parse) for row in _rows(path))


def _rows(path: Path) -> Iterator[Row]:
    """Records of a file, of `records.json` in a folder, or of the data files that a folder from the hub has."""
    if not path.is_dir():
        return read_rows(path)
    for place in (path / RECORDS, path / "data", path):
        if place.exists():
            return read_rows(place)
    raise AssertionError("unreachable: the folder exists")


def _question_types(path: Path) -> dict[str, str]:
    """The type of each question by its name, as far as there are settings."""
    places = (path / HUB_FOLDER / SETTINGS, path / SETTINGS) if path.is_dir() else (path,)
    file = next((place for place in places if place.is_file()), None)
    if file is None or file.suffix != ".json":
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        if file == path:  # the reader of its records says what is wrong, and where
            return {}
        raise DataError(f"{file} is not valid JSON: {error}") from error
    settings = found.get("settings", found) if isinstance(found, Mapping) else {}
    questions = settings.get("questions") if isinstance(settings, Mapping) else None
    return {q["name"]: q["settings"]["type"] for q in questions or () if _is_question(q)}


def _is_question(value: Any) -> bool:
    return isinstance(value, Mapping) and "name" in value and "type" in (value.get("settings") or {})


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """A flattened record as a nested one: `q.responses`, `q.responses.users` and `q.responses.status` go together."""
    responses = {}
    for name in filter(_ANSWERS.fullmatch, row):
        values = list_of(row[name], name)
        users = list_of(row.get(f"{name}.users"), f"{name}.users") or [None] * len(values)
        states = list_of(row.get(f"{name}.status"), f"{name}.status") or [None] * len(values)
        if not len(values) == len(users) == len(states):
            raise RowError(f"{name}, {name}.users and {name}.status must be equally long")
        responses[name.removesuffix(".responses")] = [
            {"value": value, "user_id": user, "status": state}
            for value, user, state in zip(values, users, states, strict=True)
        ]
    fields = {name: value for name, value in row.items() if "." not in name and name not in _OF_THE_RECORD}
    return {"id": row.get("id"), "fields": fields, "responses": responses}


def _people(responses: Mapping[str, Any], types: Mapping[str, str], left_out: Counter[str]) -> list[Said]:
    """What each user said. Drafts are no answers; a discarded record is one only where a remark says it is too hard."""
    by_user: dict[str, dict[str, Any]] = {}
    states: dict[str, str] = {}
    for question, answers in responses.items():
        if not isinstance(answers, list) or not all(isinstance(answer, Mapping) for answer in answers):
            raise RowError(f"responses to {question!r} must be a list of objects with value and user_id")
        for answer in answers:
            user = NOBODY if answer.get("user_id") in (None, "", "None") else str(answer["user_id"])
            if question in by_user.setdefault(user, {}):
                left_out[SECOND] += 1
            else:
                by_user[user][question] = answer.get("value")
                states[user] = str(answer.get("status") or "")
    found = [(_said(user, answers, types), states[user]) for user, answers in by_user.items()]
    for state in ("draft", "discarded"):
        dropped = sum(was == state and "too_hard" not in said.choices for said, was in found)
        left_out.update({f"{state} in Argilla": dropped} if dropped else {})
    return [said for said, was in found if was not in ("draft", "discarded") or "too_hard" in said.choices]


def _said(user: str, answers: Mapping[str, Any], types: Mapping[str, str]) -> Said:
    """One user's answers to all questions, in neutral terms. Without settings a value tells what it answers."""
    choices: list[str] = []
    ranking: Sequence[Any] = ()
    rating, text, reason = None, "", ""
    for question, value in answers.items():
        type_ = types.get(question) or _type_of(value)
        if type_ == "ranking":
            ranking = _ranked(value)
        elif type_ == "rating":
            rating = value
        elif type_ == "multi_label_selection":
            choices += map(str, list_of(value, question))
        elif question.lower() in REASON_NAMES:
            reason = str(value or "")
        elif type_ == "label_selection":
            choices.append(str(value))
        elif type_ == "text":
            text = str(value or "")
            choices += [] if question in types else [text]  # without settings it may be a label as well
    return Said(user, tuple(choices), tuple(ranking), rating, text, reason)


def _type_of(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "rating"
    if isinstance(value, list):
        ranked = value and all(isinstance(one, Mapping) and "value" in one for one in value)
        return "ranking" if ranked else "multi_label_selection"
    return "text"


def _ranked(value: Any) -> list[Any]:
    """Names best first, from a list of them or of {"value", "rank"}; equal ranks are a tie."""
    if not isinstance(value, list):
        raise RowError(f"a ranking must be a list, not {value!r}")
    if not all(isinstance(one, Mapping) for one in value):
        return value
    ranks: dict[int, list[Any]] = {}
    for place, one in enumerate(value, start=1):
        rank = one.get("rank")
        if not isinstance(rank, int | None):
            raise RowError(f"a rank must be a whole number, not {rank!r}")
        ranks.setdefault(rank or place, []).append(one.get("value"))
    return [ranks[rank] for rank in sorted(ranks)]
