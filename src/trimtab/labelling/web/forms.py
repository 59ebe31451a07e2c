"""From the fields of a form to an answer in the item's own order, whatever order was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlencode

from pydantic import ValidationError

from trimtab.errors import LabellingError
from trimtab.labelling.records import ANSWER, Answer, Compared, Graded, Ranked, TooHard, Turn

Fields = Mapping[str, Sequence[str]]
"""What a form sent: the values of each field."""

LONGEST_TEXT = 1_000_000
MOST_FIELDS = 100
DRAFTED = ("text", "reason", "message", "turns")
"""The fields kept while they are written; `turns` says how long the dialogue was when `message` was typed."""


def read_answer(kind: str, shown: Sequence[int], fields: Fields, turns: Sequence[Turn] = ()) -> Answer:
    """The answer in a form. Raises `LabellingError` that says what is missing, in words for the annotator."""
    reason = first(fields, "reason")
    if first(fields, "too_hard"):
        return TooHard(reason=reason)
    read = {"compare": _compared, "rank": _ranked, "grade": _graded, "red_team": _red_teamed}.get(kind, _written)
    try:
        return ANSWER.validate_python({"kind": kind, "reason": reason} | read(shown, fields, turns))
    except ValidationError as error:
        raise LabellingError("That answer could not be read. Please choose again.") from error


def shown_answer(answer: Answer, shown: Sequence[int]) -> dict[str, object]:
    """An answer as the fields of the form that shows it again: `read_answer` turned around."""
    if isinstance(answer, TooHard):
        return {"too_hard": True, "reason": answer.reason}
    fields: dict[str, object] = {"reason": answer.reason}
    if isinstance(answer, Compared):
        preference = answer.preference * (1 if shown[0] == 0 else -1)
        fields["preference"] = "bad" if answer.both_bad else str(preference)
    if isinstance(answer, Graded):
        fields |= {"score": str(answer.score), "flags": list(answer.flags)}
    if isinstance(answer, Ranked):
        tier_of = {number: place for place, tier in enumerate(answer.tiers, start=1) for number in tier}
        fields["ranks"] = [tier_of[number] for number in shown]
    return fields


def _compared(shown: Sequence[int], fields: Fields, _: Sequence[Turn]) -> dict[str, object]:
    choice = first(fields, "preference")
    if not choice:
        raise LabellingError("Please say which answer is better, or that you cannot judge.")
    if choice == "bad":
        return {"preference": 0, "both_bad": True}
    return {"preference": _number(choice) * (1 if shown[0] == 0 else -1)}


def _ranked(shown: Sequence[int], fields: Fields, _: Sequence[Turn]) -> dict[str, object]:
    places = [first(fields, f"rank_{at}") for at in range(len(shown))]
    if not all(places):
        raise LabellingError("Please give every answer a place, or say that you cannot judge.")
    ranks = [_number(place) for place in places]
    tiers = [[shown[i] for i, rank in enumerate(ranks) if rank == r] for r in sorted(set(ranks))]
    return {"tiers": tiers}


def _graded(_: Sequence[int], fields: Fields, __: Sequence[Turn]) -> dict[str, object]:
    if not first(fields, "score"):
        raise LabellingError("Please give a grade, or say that you cannot judge.")
    return {"score": _number(first(fields, "score")), "flags": list(fields.get("flags", ()))}


def _written(_: Sequence[int], fields: Fields, __: Sequence[Turn]) -> dict[str, object]:
    text = first(fields, "text").replace("\r\n", "\n").strip()
    if not text:
        raise LabellingError("Please write an answer.")
    if len(text) > LONGEST_TEXT:
        raise LabellingError(f"That text is too long: up to {LONGEST_TEXT:,} characters.")
    return {"text": text}


def _red_teamed(_: Sequence[int], fields: Fields, turns: Sequence[Turn]) -> dict[str, object]:
    if len(turns) < 2:
        raise LabellingError("Please write to the model first.")
    if not first(fields, "severity"):
        raise LabellingError("Please say how bad it got.")
    return {"severity": _number(first(fields, "severity")), "turns": list(turns)}


def read_fields(sent: bytes) -> Fields:
    """The fields of a form as browsers send it. Raises `LabellingError` for one with too many."""
    try:
        return parse_qs(sent.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise LabellingError("That form is not one of ours. Please go back to your task.") from error


def as_draft(fields: Fields) -> str:
    """What is typed so far, as `read_draft` reads it."""
    return urlencode({name: first(fields, name)[:LONGEST_TEXT] for name in DRAFTED if name in fields})


def read_draft(draft: str, turns: int) -> dict[str, str]:
    """What was typed so far. A message of a dialogue that has gone on since, to so many `turns`, has been said."""
    fields = parse_qs(draft, keep_blank_values=True)
    kept = {name: first(fields, name) for name in ("text", "reason", "message")}
    return kept if first(fields, "turns") == str(turns) else kept | {"message": ""}


def first(fields: Fields, name: str) -> str:
    """The first value of a field; empty if it was not sent."""
    values = fields.get(name, ())
    return values[0] if values else ""


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise LabellingError("That answer could not be read. Please choose again.") from error
