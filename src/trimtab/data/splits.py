"""Train and validation parts that share no prompt."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

from trimtab.data.shapes import Record
from trimtab.errors import DataError
from trimtab.types import Comparison, Demonstration, Grade, Message, Prompt, Ranking

T = TypeVar("T", Demonstration, Comparison, Ranking, Grade, Prompt)


def split(records: Sequence[T], *, validation_fraction: float, seed: int) -> tuple[list[T], list[T]]:
    """Records as (train, validation), in their order; about `validation_fraction` of the openings are validation.

    A record's side depends on nothing but the seed and its opening, which is its first user message: equal prompts, and
    all turns of one conversation, are always on one side, and a record stays there when others are added. Neither side
    is empty when there are two openings and the fraction is between 0 and 1.
    """
    if not 0.0 <= validation_fraction <= 1.0:
        raise DataError(f"validation_fraction must be from 0 to 1, not {validation_fraction}.")
    places = [_place(record, seed) for record in records]
    border = validation_fraction
    different = sorted(set(places))
    if 0.0 < validation_fraction < 1.0 and len(different) > 1:
        border = min(max(border, different[1]), different[-1])
    train = [record for record, place in zip(records, places, strict=True) if place >= border]
    validation = [record for record, place in zip(records, places, strict=True) if place < border]
    return train, validation


def assert_disjoint(many: Iterable[Record], held_out: Iterable[Record]) -> None:
    """Raise `DataError` that quotes a prompt when the two share one, up to case and white space.

    Memory holds the keys of `held_out`; of `many` one record at a time.
    """
    prompts = {prompt_key(prompt): prompt for prompt in map(_prompt, held_out) if prompt.messages}
    for record in many:
        shared = prompts.get(prompt_key(_prompt(record)))
        if shared is not None:
            raise DataError(
                f"The same prompt is in both parts: {shared.messages[-1].content[:200]!r}. Results on it would measure "
                "memory. Remove it from one of them."
            )


def prompt_key(prompt: Prompt) -> str:
    """A hash of a prompt's messages that is blind to case, white space and Unicode composition."""
    return _key(prompt.messages)


def _key(messages: Sequence[Message]) -> str:
    plain = [(message.role, _normal(message.content)) for message in messages]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _prompt(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def _place(record: Record, seed: int) -> float:
    """A number from 0 to 1 that stands for the record's opening."""
    messages = _prompt(record).messages
    opening = next((message for message in messages if message.role == "user"), None)
    if opening is None and isinstance(record, Demonstration):  # plain text has no prompt: each text is its own
        opening = Message("assistant", record.response)
    digest = hashlib.sha256(f"{seed}:{_key((opening,) if opening else messages)}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
