"""Tasks that Label Studio imports, and beside them the labelling interface that shows them.

Label Studio books imported annotations to whoever imports them, and refuses those of users it does not know. So none
names a user; `annotator` says who it was, which Label Studio passes over and trimtab reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from trimtab.labelling.argilla_export import one_kind
from trimtab.labelling.exporting import Summary, Tally
from trimtab.labelling.foreign import BOTH_BAD, BY_FAR, FLAGS, TIE, TOO_HARD, choice_of, remarks_of
from trimtab.labelling.records import (
    MOST_RESPONSES,
    Answer,
    Compared,
    Graded,
    Item,
    Kind,
    Label,
    LabelledItem,
    Ranked,
    Written,
)
from trimtab.labelling.writing import replacing, write_json

CONTROLS: dict[Kind, str] = {
    "compare": "preference",
    "rank": "ranking",
    "grade": "score",
    "demonstrate": "text",
    "edit": "text",
}
"""The name of the control with which items of each kind are answered. There is none for a dialogue."""


def write_label_studio(labelled: Sequence[LabelledItem], path: Path) -> Summary:
    """Write tasks as JSON, and the labelling interface as XML beside them. The items are of one kind.

    Raises `LabellingError` for items of several kinds, of red-teaming, or none.
    """
    kind = one_kind(labelled, CONTROLS)
    tally = Tally()
    for one in labelled:
        tally.add(label.final for label in one.labels)
    write_json(path, [_task(one) for one in labelled])
    with replacing(path.with_suffix(".xml")) as file:
        file.write(interface(kind))
    return tally.summary(len(labelled))


def interface(kind: Kind) -> str:
    """The labelling interface for items of one kind, in Label Studio's tags."""
    remarks = {"compare": (BOTH_BAD,), "grade": FLAGS}.get(kind, ())
    lines = [
        '<Text name="prompt" value="$prompt"/>',
        *_SHOWN[kind],
        '<Choices name="remarks" toName="prompt" choice="multiple">',
        *(f"  <Choice value={quoteattr(name)}/>" for name in (*remarks, TOO_HARD)),
        "</Choices>",
        '<TextArea name="reason" toName="prompt" placeholder="Why?"/>',
    ]
    return "<View>\n" + "".join(f"  {line}\n" for line in lines) + "</View>\n"


_PREFERENCES = ("response_1" + BY_FAR, "response_1", TIE, "response_2", "response_2" + BY_FAR)
_ONE_RESPONSE = '<Text name="response" value="$response_1"/>'
_SHOWN: dict[Kind, list[str]] = {
    "compare": [
        '<Text name="first" value="$response_1"/>',
        '<Text name="second" value="$response_2"/>',
        '<Choices name="preference" toName="prompt" choice="single">',
        *(f'  <Choice value="{name}"/>' for name in _PREFERENCES),
        "</Choices>",
    ],
    "rank": [
        '<List name="responses" value="$items" title="Responses"/>',
        '<Ranker name="ranking" toName="responses">',
        *(f'  <Bucket name="{n}" title="Rank {n}"/>' for n in range(1, MOST_RESPONSES + 1)),
        "</Ranker>",
    ],
    "grade": [_ONE_RESPONSE, '<Rating name="score" toName="prompt" maxRating="7"/>'],
    "demonstrate": ['<TextArea name="text" toName="prompt" rows="8"/>'],
    "edit": [_ONE_RESPONSE, '<TextArea name="text" toName="prompt" rows="8" value="$response_1"/>'],
}


def _task(one: LabelledItem) -> dict[str, Any]:
    return {"data": _data(one.item), "annotations": [_annotation(label) for label in one.labels]}


def _data(item: Item) -> dict[str, Any]:
    """The texts. A prompt of several turns is written out as one for people, and kept as messages beside that."""
    single = [turn.role for turn in item.prompt] == ["user"]
    prompt = item.prompt[0].content if single else "\n\n".join(f"{turn.role}: {turn.content}" for turn in item.prompt)
    data: dict[str, Any] = {"id": item.key, "prompt": prompt}
    if not single:
        data["messages"] = [turn.model_dump() for turn in item.prompt]
    if item.kind == "rank":
        named = enumerate(item.responses, start=1)
        data["items"] = [{"id": str(n), "title": f"Response {n}", "body": text} for n, text in named]
    else:
        data |= {f"response_{n}": text for n, text in enumerate(item.responses, start=1)}
    return data


def _annotation(label: Label) -> dict[str, Any]:
    results = [_result(n, *parts) for n, parts in enumerate(_parts(label.final), start=1)]
    return {
        "result": results,
        "annotator": label.annotator,
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": label.seconds,
        "created_at": label.at,
    }


def _result(number: int, control: str, shown: str, type_: str, value: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "from_name": control, "to_name": shown, "type": type_, "value": {_KEYS[type_]: value}}


_KEYS = {"choices": "choices", "rating": "rating", "ranker": "ranker", "textarea": "text"}


def _parts(answer: Answer) -> list[tuple[str, str, str, Any]]:
    """What an answer says: control, what it belongs to, type, value."""
    parts: list[tuple[str, str, str, Any]] = []
    match answer:
        case Compared():
            parts.append(("preference", "prompt", "choices", [choice_of(answer)]))
        case Ranked():
            buckets = {str(n): [str(i + 1) for i in tier] for n, tier in enumerate(answer.tiers, start=1)}
            parts.append(("ranking", "responses", "ranker", buckets))
        case Graded():
            parts.append(("score", "prompt", "rating", answer.score))
        case Written():
            parts.append(("text", "prompt", "textarea", [answer.text]))
    if remarks := remarks_of(answer):
        parts.append(("remarks", "prompt", "choices", remarks))
    if answer.reason:
        parts.append(("reason", "prompt", "textarea", [answer.reason]))
    return parts
