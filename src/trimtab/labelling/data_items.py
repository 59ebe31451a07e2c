"""Items from data that trains or is to train a model: its prompts and responses, and what is known of them as gold.

What the data says of its responses is no label: nobody in this project gave it. Where it is beyond doubt it may become
the known answer of some items.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from pydantic import ValidationError

from trimtab.data.formats import Dataset, ReadRow, ranked_pairs
from trimtab.data.messages import RowError, response_of
from trimtab.data.shapes import Record
from trimtab.errors import LabellingError
from trimtab.labelling.entries import Entry, in_words, require_short
from trimtab.labelling.records import Answer, Compared, Graded, Item, Kind, LabelledItem, Ranked, Turn
from trimtab.types import Comparison, Demonstration, Grade, Message, Prompt, Ranking

KINDS_OF: dict[str, tuple[Kind, ...]] = {
    "comparisons": ("compare", "rank", "demonstrate", "red_team"),
    "rankings": ("rank", "compare", "demonstrate", "red_team"),
    "grades": ("grade", "edit", "demonstrate", "red_team"),
    "unpaired": ("grade", "edit", "demonstrate", "red_team"),
    "demonstrations": ("edit", "grade", "demonstrate", "red_team"),
    "prompts": ("demonstrate", "red_team", "compare", "rank", "grade", "edit"),
}
"""The kinds of items that each kind of data can become; the first is what it becomes when none is asked for."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many items, or such a share of those that carry an answer."""

    number: int = 0
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Amount:
        """`20`, `10%` or `all`. Raises `LabellingError` for anything else."""
        digits = text.removesuffix("%")
        if text == "all":
            return cls(share=1.0)
        if not digits.isascii() or not digits.isdigit() or (text != digits and int(digits) > 100):
            raise LabellingError(f"{text!r} is no amount of items: write a number (20), a share (10%) or all")
        return cls(share=int(digits) / 100) if text != digits else cls(number=int(digits))

    def of(self, total: int) -> int:
        """How many of a total that is."""
        return self.number + round(self.share * total)


NONE = Amount()


def data_entries(
    dataset: Dataset, kind: Kind | None = None, *, gold: Amount = NONE, quiz: Amount = NONE, seed: int = 0
) -> Iterator[Entry]:
    """The items of a data set. Raises `LabellingError` for a kind that cannot be made of it.

    `gold` and `quiz` of the items that carry a plain answer, drawn with `seed`, get it as their known answer.
    """
    allowed = KINDS_OF[dataset.kind]
    wanted = kind or _default_kind(dataset)
    if wanted not in allowed:
        raise LabellingError(
            f"{dataset.source} holds {dataset.format} rows ({dataset.kind}), which cannot become items of kind "
            f"{wanted}; they can become {', '.join(allowed)}"
        )
    chosen: dict[int, bool] = {}
    if (gold, quiz) != (NONE, NONE):
        answered = sum(one.item.gold is not None for found in _read(dataset, wanted) for one in found.labelled)
        chosen = _choose(dataset.source, answered, gold, quiz, seed)
    number = count()
    for found in _read(dataset, wanted):
        yield replace(found, labelled=tuple(_with_gold(one, number, chosen) for one in found.labelled))


def _default_kind(dataset: Dataset) -> Kind:
    """Prompts with responses beside them, which nobody has judged yet, are to be judged."""
    if dataset.kind == "prompts" and "responses" in dataset.columns:
        found = (_prompt(row.records[0]).meta.get("responses") for row in dataset.rows() if row.records)
        responses = next(found, None)
        number = len(responses) if isinstance(responses, list) else 1
        return "compare" if number == 2 else "rank" if number > 2 else "grade"
    return KINDS_OF[dataset.kind][0]


def _choose(source: str, answered: int, gold: Amount, quiz: Amount, seed: int) -> dict[int, bool]:
    """Numbers of the answers that are to be known ones, and whether each is for the quiz."""
    num_quiz, num_gold = quiz.of(answered), gold.of(answered)
    num_gold = min(num_gold, answered - num_quiz) if gold.share == 1.0 else num_gold
    if num_quiz + num_gold > answered:
        raise LabellingError(
            f"{num_gold} gold items and {num_quiz} for the quiz are asked for, but only {answered} items of {source} "
            "carry an answer that can be a known one: all votes of a comparison for one side, a ranking, or a whole "
            "score from 1 to 7. Ask for fewer"
        )
    drawn = random.Random(seed).sample(range(answered), num_quiz + num_gold)
    return {number: place < num_quiz for place, number in enumerate(drawn)}


def _with_gold(one: LabelledItem, number: Iterator[int], chosen: Mapping[int, bool]) -> LabelledItem:
    if one.item.gold is None:
        return one
    is_quiz = chosen.get(next(number))
    changes = {"gold": None} if is_quiz is None else {"is_quiz": is_quiz}
    return LabelledItem(item=one.item.model_copy(update=changes))


def _read(dataset: Dataset, kind: Kind) -> Iterator[Entry]:
    """Every row's items, each with the answer it carries as gold. A verdict of true or false is none on our scale."""
    return (_entry(row, kind, has_answers=dataset.kind != "unpaired") for row in dataset.rows())


def _entry(row: ReadRow, kind: Kind, *, has_answers: bool) -> Entry:
    try:
        if row.problem:
            raise RowError(row.problem)
        require_short(row.length)
        parts = [part for record in row.records for part in _PARTS[kind](record)]
        name = _id(parts[0].prompt) if len(parts) == 1 else ""
        items = tuple(LabelledItem(item=_item(kind, part, name, has_answers)) for part in parts)
    except ValidationError as error:
        return Entry(row.place, problem=in_words(error))
    except RowError as error:
        return Entry(row.place, problem=str(error))
    return Entry(row.place, items)


@dataclass(frozen=True, slots=True)
class _Part:
    """What becomes an item: a prompt, its responses and the answer that is known."""

    prompt: Prompt
    responses: tuple[str, ...] = ()
    answer: Answer | None = None


def _id(prompt: Prompt) -> str:
    """What a row's own column `id` says."""
    given = prompt.meta.get("id")
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""


def _item(kind: Kind, part: _Part, name: str, has_answers: bool) -> Item:
    return Item(
        id=name,
        kind=kind,
        prompt=turns(part.prompt.messages),
        responses=part.responses,
        gold=part.answer if has_answers else None,
    )


def turns(messages: Sequence[Message]) -> tuple[Turn, ...]:
    """Messages as items hold them."""
    return tuple(Turn(role=message.role, content=message.content) for message in messages)


def _prompt(record: Record) -> Prompt:
    return record if isinstance(record, Prompt) else record.prompt


def _compare(record: Record) -> list[_Part]:
    """One pair, or all pairs of a ranking."""
    if isinstance(record, Ranking):
        return [_compared(pair) for pair in ranked_pairs(record)]
    if isinstance(record, Comparison):
        return [_compared(record)]
    return [_unjudged_part(record, range(2, 3))]


def _compared(pair: Comparison) -> _Part:
    sure = {1.0: Compared(preference=1), 0.0: Compared(preference=-1)}
    return _Part(pair.prompt, (pair.chosen, pair.rejected), sure.get(pair.probability))


def _rank(record: Record) -> list[_Part]:
    if isinstance(record, Ranking):
        return [_Part(record.prompt, record.responses, Ranked(tiers=record.tiers))]
    if isinstance(record, Comparison):
        return [replace(_compared(record), answer=None)]
    return [_unjudged_part(record, range(2, 10))]


def _grade(record: Record) -> list[_Part]:
    if isinstance(record, Grade):
        whole = record.score in range(1, 8)
        return [_Part(record.prompt, (record.response,), Graded(score=int(record.score)) if whole else None)]
    return _edit(record)


def _edit(record: Record) -> list[_Part]:
    """Each response by itself."""
    if isinstance(record, Demonstration | Grade):
        return [_Part(record.prompt, (record.response,))]
    part = _unjudged_part(record, range(1, 1000))
    return [replace(part, responses=(response,)) for response in part.responses]


def _unjudged_part(record: Record, allowed: range) -> _Part:
    prompt = _prompt(record)
    responses = _unjudged(prompt.meta)
    if len(responses) not in allowed:
        wanted = f"{allowed.start}" if len(allowed) == 1 else f"at least {allowed.start}"
        raise RowError(f"the column responses must be a list of {wanted}; this row has {len(responses)}")
    return _Part(prompt, responses)


def _unjudged(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Responses beside a prompt."""
    raw = meta.get("responses")
    if not isinstance(raw, list):
        raise RowError("there is no column responses with a list of texts to judge")
    return tuple(response_of(value, f"response {number}") for number, value in enumerate(raw))


def _alone(record: Record) -> list[_Part]:
    """The prompt and nothing else."""
    return [_Part(_prompt(record))]


_PARTS: dict[Kind, Callable[[Record], list[_Part]]] = {
    "compare": _compare,
    "rank": _rank,
    "grade": _grade,
    "edit": _edit,
    "demonstrate": _alone,
    "red_team": _alone,
}
