"""Rows that hold responses to imitate, single judged responses, or prompts alone.

Each function takes a row and the columns it does not read (`meta`), and raises `RowError` with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.data.messages import (
    RowError,
    demonstrations_of,
    messages_of,
    prompt_of,
    response_of,
    text_of,
    with_system,
)
from trimtab.types import Demonstration, Grade, Message, Prompt

Values = Mapping[str, Any]
_LABELS = {"true": True, "false": False, "1": True, "0": False}


def text(row: Values, meta: Values) -> list[Demonstration]:
    """Plain text to continue: a response to no prompt."""
    return [Demonstration(Prompt((), meta), text_of(row["text"], "text"))]


def messages(row: Values, meta: Values) -> list[Demonstration]:
    """A conversation of messages with role and content."""
    return demonstrations_of(messages_of(row["messages"], "messages"), meta, "messages")


def sharegpt(row: Values, meta: Values) -> list[Demonstration]:
    """A conversation of turns with from and value, and perhaps a system text."""
    turns = with_system(messages_of(row["conversations"], "conversations"), row.get("system"))
    return demonstrations_of(turns, meta, "conversations")


def prompt_completion(row: Values, meta: Values) -> list[Demonstration]:
    """A prompt and what follows it, each as text or as messages."""
    prompt = prompt_of(row["prompt"], meta)
    completion = row["completion"]
    if isinstance(completion, str):
        return [Demonstration(prompt, text_of(completion, "completion"))]
    turns = messages_of(completion, "completion", first=prompt.messages[-1].role)
    return demonstrations_of(prompt.messages + turns, prompt.meta, "completion", start=len(prompt.messages))


def alpaca(row: Values, meta: Values) -> list[Demonstration]:
    """An instruction, perhaps with an input, a system text and earlier turns, and its output."""
    return [Demonstration(alpaca_prompt(row, meta), text_of(row["output"], "output"))]


def alpaca_prompt(row: Values, meta: Values) -> Prompt:
    """The conversation of an Alpaca row; `input` goes below the instruction."""
    question = text_of(row["instruction"], "instruction")
    if row.get("input"):
        question = f"{question}\n\n{text_of(row['input'], 'input')}"
    turns: list[Message] = []
    for number, pair in enumerate(row.get("history") or (), start=1):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise RowError(f"turn {number} of history must be [question, answer]")
        turns.append(Message("user", text_of(pair[0], f"question {number} of history")))
        turns.append(Message("assistant", text_of(pair[1], f"answer {number} of history")))
    return Prompt(with_system((*turns, Message("user", question)), row.get("system")), meta)


def prompt_only(row: Values, meta: Values) -> list[Prompt]:
    """A prompt without a response."""
    return [prompt_of(row["prompt"], meta)]


def unpaired(row: Values, meta: Values) -> list[Grade]:
    """A response with a verdict, true or false, as the score 1 or 0."""
    prompt = prompt_of(row["prompt"], meta)
    return [Grade(prompt, response_of(row["completion"], "completion"), _label(row["label"], "label"))]


def sharegpt_unpaired(row: Values, meta: Values) -> list[Grade]:
    """A ShareGPT conversation with a verdict (kto_tag) on its last response."""
    turns = with_system(messages_of(row["conversations"], "conversations"), row.get("system"))
    demonstration = demonstrations_of(turns, meta, "conversations")[-1]
    return [Grade(demonstration.prompt, demonstration.response, _label(row["kto_tag"], "kto_tag"))]


def is_labelled(row: Values) -> bool:
    """Whether the column label is a verdict and not some class."""
    return str(row["label"]).lower() in _LABELS


def _label(value: Any, name: str) -> float:
    label = _LABELS.get(str(value).lower())
    if label is None:
        raise RowError(f"{name} must be true or false, not {value!r}")
    return float(label)
