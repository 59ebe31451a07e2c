"""What other labelling tools' files have in common: texts under names of their own, and answers that refer to them.

Neither Argilla nor Label Studio says which text is the prompt and which are responses, so their names tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from trimtab.data.messages import RowError, prompt_of, response_of
from trimtab.labelling.data_items import turns
from trimtab.labelling.records import (
    NUM_RESPONSES,
    Answer,
    Compared,
    Flag,
    Graded,
    Item,
    Kind,
    Label,
    LabelledItem,
    Ranked,
    TooHard,
    Turn,
    Written,
)

PROMPT_NAMES = ("messages", "conversation", "chat", "prompt", "instruction", "question", "query", "input")
_RESPONSE = "(?:response|completion|answer|output|generation|candidate|reply|option|text|chosen|rejected)s?"
RESPONSE_NAMES = re.compile(rf"{_RESPONSE}[ _-]?(\d*|[a-z])", re.IGNORECASE)
_NUMBERED = re.compile(rf"(?:{_RESPONSE}[ _-]?)?(\d+)", re.IGNORECASE)
LIST_NAMES = ("responses", "completions", "answers", "candidates", "items")
REASON_NAMES = ("reason", "rationale", "explanation", "comment", "comments", "feedback", "why")
NOBODY = "unknown"
"""The annotator of labels that name none."""
SECOND = "a second answer by the same annotator"
FLAGS: tuple[Flag, ...] = get_args(Flag)
BY_FAR, TIE, BOTH_BAD, TOO_HARD = "_by_far", "tie", "both_bad", "too_hard"
_SIDES = {
    **dict.fromkeys(("left", "first", "a", "chosen", "0_is_better"), 0),
    **dict.fromkeys(("right", "second", "b", "rejected", "1_is_better"), 1),
}
_TIES = (TIE, "equal", "same", "both", "none", "neither", "no_preference", "both_good")


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a row: the prompt, and the responses by the names by which answers refer to them."""

    prompt: tuple[Turn, ...]
    responses: Mapping[str, str]

    def number(self, name: Any) -> int:
        """The number, from 0, of the response an answer refers to: by its name, or by a number from 1 at its end."""
        names = list(self.responses)
        if name in names:
            return names.index(name)
        found = _NUMBERED.fullmatch(str(name))
        if found is None or not 1 <= int(found[1]) <= len(names):
            raise RowError(f"{name!r} names none of the responses {', '.join(names) or '(there are none)'}")
        return int(found[1]) - 1


def texts_of(fields: Mapping[str, Any]) -> Texts:
    """The prompt and the responses among named values. Raises `RowError` when there is no prompt."""
    name = next((name for name in PROMPT_NAMES if fields.get(name)), None)
    if name is None:
        raise RowError(
            f"none of its texts is the prompt (they are {', '.join(map(str, fields)) or 'none'}); the prompt is called "
            f"{', '.join(PROMPT_NAMES)}. To rename one: --columns prompt=THEIR_NAME"
        )
    prompt = turns(prompt_of(fields[name], {}, name).messages)
    listed = next((fields[key] for key in LIST_NAMES if isinstance(fields.get(key), list)), None)
    if listed is not None:
        named_texts = list(_listed(listed))
        responses = dict(named_texts)
        if len(responses) < len(named_texts):
            raise RowError("two responses have the same id")
        return Texts(prompt, responses)
    others = {key: value for key, value in fields.items() if key not in PROMPT_NAMES and isinstance(value, str)}
    named = {key: value for key, value in others.items() if RESPONSE_NAMES.fullmatch(key)}
    return Texts(prompt, {key: response_of(value, key) for key, value in named.items() if value.strip()})


def list_of(value: Any, name: str) -> list[Any]:
    """A value that must be a list, or nothing, which is an empty one. Raises `RowError` for others."""
    if value is not None and not isinstance(value, list):
        raise RowError(f"{name} must be a list, not {type(value).__name__}")
    return value or []


def object_of(value: Any, name: str) -> Mapping[str, Any]:
    """A value that must be an object, or nothing, which is an empty one. Raises `RowError` for others."""
    if value is not None and not isinstance(value, Mapping):
        raise RowError(f"{name} must be an object, not {type(value).__name__}")
    return value or {}


def _listed(values: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Responses in a list: texts, or objects with an id and a body."""
    for number, value in enumerate(values, start=1):
        if isinstance(value, Mapping):
            body = next((value[key] for key in ("body", "text", "content", "title") if value.get(key)), None)
            yield str(value.get("id", number)), response_of(body, f"response {number}")
        else:
            yield str(number), response_of(value, f"response {number}")


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said of one row, and who, when and how long it took, as far as the file tells."""

    annotator: str = NOBODY
    choices: tuple[str, ...] = ()
    ranking: tuple[Any, ...] = ()
    """Names of responses, best first; a list among them is a tie."""
    rating: float | None = None
    text: str = ""
    reason: str = ""
    seconds: float = 0.0
    at: str = ""


def labelled_item(
    texts: Texts, people: Sequence[Said], *, id: str, kind: Kind | None, left_out: Counter[str]
) -> LabelledItem:
    """An item with what people said of it. An answer that is none, and a person's second one, are counted as left out.

    What kind of item it is follows from the answers, or where there are none from the number of responses.
    """
    kind = (
        kind
        or next(filter(None, (_kind(said, texts) for said in people)), None)
        or _kind_by_number(len(texts.responses))
    )
    labels: dict[str, Label] = {}
    for said in people:
        answer = _answer(said, kind, texts)
        if answer is None:
            left_out[f"no whole answer to an item of kind {kind}"] += 1
        elif said.annotator in labels:
            left_out[SECOND] += 1
        else:
            labels[said.annotator] = Label(annotator=said.annotator, answer=answer, seconds=said.seconds, at=said.at)
    responses = tuple(texts.responses.values()) if max(NUM_RESPONSES[kind]) else ()
    return LabelledItem(
        item=Item(id=id, kind=kind, prompt=texts.prompt, responses=responses), labels=tuple(labels.values())
    )


def preference(choice: str, texts: Texts) -> Compared | None:
    """What a choice says of two responses: the name of one, perhaps by far; a tie. None if it says nothing of that."""
    plain = _plain(choice)
    if plain in _TIES or plain == BOTH_BAD:
        return Compared(preference=0, both_bad=plain == BOTH_BAD)
    bare = choice.removesuffix(BY_FAR)
    side = None if bare in texts.responses else _SIDES.get(plain.removesuffix(BY_FAR))
    if side is None:
        try:
            side = texts.number(bare)
        except RowError:
            return None
    strength = 2 if plain.endswith(BY_FAR) else 1
    return Compared(preference=-strength if side else strength)


def choice_of(answer: Compared) -> str:
    """The choice that says which response is better, as `preference` reads it."""
    if not answer.preference:
        return TIE
    return ("response_1" if answer.preference > 0 else "response_2") + (BY_FAR if abs(answer.preference) == 2 else "")


def remarks_of(answer: Answer) -> list[str]:
    """What else an answer says, as choices: both responses are bad, what is wrong with one, it is too hard."""
    if isinstance(answer, TooHard):
        return [TOO_HARD]
    if isinstance(answer, Graded):
        return list(answer.flags)
    return [BOTH_BAD] if isinstance(answer, Compared) and answer.both_bad else []


def _kind(said: Said, texts: Texts) -> Kind | None:
    """The kind of item this is an answer to."""
    if said.ranking:
        return "rank"
    if said.rating is not None:
        return "grade"
    if len(texts.responses) == 2 and any(preference(choice, texts) for choice in said.choices):
        return "compare"
    if said.text:
        return "edit" if texts.responses else "demonstrate"
    return None


def _kind_by_number(responses: int) -> Kind:
    """The kind of item nobody has answered yet."""
    return "demonstrate" if not responses else "grade" if responses == 1 else "compare" if responses == 2 else "rank"


def _answer(said: Said, kind: Kind, texts: Texts) -> Answer | None:
    remarks = [_plain(choice) for choice in said.choices]
    if TOO_HARD in remarks:
        return TooHard(reason=said.reason)
    if kind == "rank" and said.ranking:
        tiers = _tiers(said.ranking, texts)
        is_whole = sum(map(len, tiers)) >= len(texts.responses)
        return Ranked(tiers=tiers, reason=said.reason) if is_whole else None
    if kind == "grade" and said.rating is not None:
        flags = tuple(flag for flag in FLAGS if flag in remarks)
        return Graded(score=said.rating, flags=flags, reason=said.reason)
    if kind == "compare":
        found = next(filter(None, (preference(c, texts) for c in said.choices if _plain(c) != BOTH_BAD)), None)
        found = found or (Compared(preference=0) if BOTH_BAD in remarks else None)
        return found and found.model_copy(update={"both_bad": BOTH_BAD in remarks, "reason": said.reason})
    if kind in ("demonstrate", "edit") and said.text:
        return Written(kind=kind, text=said.text, reason=said.reason)
    return None


def _tiers(names: Sequence[Any], texts: Texts) -> tuple[tuple[int, ...], ...]:
    tiers = [[texts.number(name) for name in (entry if isinstance(entry, list) else [entry])] for entry in names]
    return tuple(tuple(tier) for tier in tiers if tier)


def _plain(choice: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", choice.lower()).strip("_")
