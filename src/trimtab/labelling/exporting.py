"""Labels as rows that training reads: comparisons, rankings, grades, demonstrations, and red-team dialogues apart.

Every export says how many labels of each kind went out and how many did not, with the reasons. Labels of items with a
known answer never go out: those items check people and tell nothing else. Where someone voted a second time, after
critiques, that vote counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.errors import LabellingError
from trimtab.evaluation.aggregation import Aggregation, to_comparison, vote_share
from trimtab.evaluation.votes import Question, Vote, by_question
from trimtab.labelling.judgements import votes_of
from trimtab.labelling.records import Answer, Compared, Graded, Item, Label, LabelledItem, Ranked, RedTeamed, Written
from trimtab.labelling.writing import write_rows
from trimtab.types import Comparison

Row = dict[str, Any]
Summary = dict[str, Any]
"""`rows` written; `exported`, labels by kind; `left_out`, labels by reason; `both_bad`, labels exported that say so."""

KNOWN = "on items with a known answer, which check people"
TOO_HARD = "too hard to judge"
TIED = "tied, and one of two columns must be the chosen one"


@dataclass
class Tally:
    """Labels that go out, and those that do not."""

    exported: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    both_bad: int = 0

    def add(self, answers: Iterable[Answer]) -> None:
        """Count labels that go out."""
        for answer in answers:
            self.exported[answer.kind] += 1
            self.both_bad += isinstance(answer, Compared) and answer.both_bad

    def summary(self, rows: int) -> Summary:
        """What an export returns."""
        left_out = {reason: number for reason, number in self.left_out.items() if number}
        return {"rows": rows, "exported": dict(self.exported), "left_out": left_out, "both_bad": self.both_bad}


def write_comparisons(
    labelled: Iterable[LabelledItem],
    path: Path,
    *,
    aggregate: Aggregation = vote_share,
    margins: bool = False,
    name_votes: bool = True,
) -> Summary:
    """Write comparisons and all pairs of rankings, as rows that trimtab's stages take as they are.

    With the share of votes the rows hold the votes one by one. With another aggregation they hold its probability and,
    unless not to name votes, the annotators; with `margins`, also how much more often one was better by far
    (`evaluation.aggregation.to_comparison`).
    """
    tally = Tally()
    plain = aggregate is vote_share and name_votes and not margins

    def rows() -> Iterator[Row]:
        for one, pairs in _compared(labelled, aggregate, tally):
            tally.add(label.final for label in one.labels)
            for pair in pairs:
                named = {"annotators": list(pair.annotators)} if name_votes else {}
                margin = {"margin": pair.margin} if margins else {}
                yield _votes(one.item, pair) if plain else _probability(one.item, pair) | margin | named

    return _write(path, rows(), tally)


def write_trl(labelled: Iterable[LabelledItem], path: Path, *, aggregate: Aggregation = vote_share) -> Summary:
    """Write comparisons and all pairs of rankings in TRL's columns prompt, chosen and rejected, ties left out.

    If any prompt has more than one turn, all rows are conversational: a column of TRL's has one type.
    """
    tally = Tally()
    decided: list[Comparison] = []
    for one, pairs in _compared(labelled, aggregate, tally):
        sure = [pair for pair in pairs if pair.probability != 0.5]
        decided += sure
        if sure:
            tally.add(label.final for label in one.labels)
        else:
            tally.left_out[TIED] += len(one.labels)
    as_messages = any([message.role for message in pair.prompt.messages] != ["user"] for pair in decided)
    return _write(path, (_trl(pair, as_messages) for pair in decided), tally)


def write_rankings(labelled: Iterable[LabelledItem], path: Path) -> Summary:
    """Write one ranking a row, in trimtab's format of rankings (docs/data.md)."""
    return _write_each(labelled, path, Ranked, _ranking)


def write_grades(labelled: Iterable[LabelledItem], path: Path) -> Summary:
    """Write one grade a row, in trimtab's format of grades (docs/data.md), with the flags beside it."""
    return _write_each(labelled, path, Graded, _grade)


def write_demonstrations(labelled: Iterable[LabelledItem], path: Path) -> Summary:
    """Write demonstrations and edited responses as prompt and completion."""
    return _write_each(labelled, path, Written, _demonstration)


def write_red_team(labelled: Iterable[LabelledItem], path: Path) -> Summary:
    """Write dialogues with how bad they got. No stage reads them as they are: a model must not learn to answer so."""
    return _write_each(labelled, path, RedTeamed, _dialogue)


def answered(
    labelled: Iterable[LabelledItem], kinds: type[Any] | tuple[type[Any], ...], tally: Tally
) -> Iterator[LabelledItem]:
    """Items that have labels of these kinds, with only those; the other labels are counted as left out."""
    for one in labelled:
        kept = tuple(label for label in one.labels if isinstance(label.final, kinds))
        reason = KNOWN if one.item.gold is not None else unreadable(one.item)
        if reason:
            tally.left_out[reason] += len(one.labels)
            continue
        for label in one.labels:
            if label.final.kind == "too_hard":
                tally.left_out[TOO_HARD] += 1
            elif not isinstance(label.final, kinds):
                tally.left_out[f"of kind {label.final.kind}, which this format cannot hold"] += 1
        if kept:
            yield one.model_copy(update={"labels": kept})


def unreadable(item: Item) -> str:
    """Why no reader would take a row of this item; empty if it would."""
    if not all(response.strip() for response in item.responses):
        return "on items with an empty response"
    if len(set(item.responses)) != len(item.responses):
        return "on items with two responses that are the same text"
    return ""


def _compared(
    labelled: Iterable[LabelledItem], aggregate: Aggregation, tally: Tally
) -> Iterator[tuple[LabelledItem, list[Comparison]]]:
    """Each item that was compared or ranked, with the comparisons that come of it."""
    items = list(answered(labelled, (Compared, Ranked), tally))
    votes = votes_of(items)
    probabilities = aggregate(votes)
    by_item: dict[str, dict[Question, list[Vote]]] = {}
    for question, cast in by_question(votes).items():
        by_item.setdefault(question[0], {})[question] = cast
    for one in items:
        item, version = one.item, _version(one)
        yield (
            one,
            [
                to_comparison(
                    item.as_prompt(),
                    item.responses[question[1]],
                    item.responses[question[2]],
                    cast,
                    probabilities[question],
                    version=version,
                )
                for question, cast in by_item[item.key].items()
            ],
        )


def _version(one: LabelledItem) -> str:
    """The versions of the guidelines under which an item was labelled, where known: 2, or 2+3."""
    return "+".join(map(str, sorted({label.guidelines for label in one.labels} - {0})))


def _votes(item: Item, pair: Comparison) -> Row:
    choices = {1.0: 0, 0.5: "tie", 0.0: 1}
    return {
        "prompt": _prompt(item),
        "responses": [pair.chosen, pair.rejected],
        "votes": [
            {"annotator": annotator, "choice": choices[vote]}
            for annotator, vote in zip(pair.annotators, pair.votes, strict=True)
        ],
        **_who(item, pair.instructions_version),
    }


def _probability(item: Item, pair: Comparison) -> Row:
    return {
        "prompt": _prompt(item),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "probability": pair.probability,
        **_who(item, pair.instructions_version),
    }


def _trl(pair: Comparison, as_messages: bool) -> Row:
    if not as_messages:
        return {"prompt": pair.prompt.messages[0].content, "chosen": pair.chosen, "rejected": pair.rejected}
    prompt = [{"role": message.role, "content": message.content} for message in pair.prompt.messages]
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in (pair.chosen, pair.rejected))
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _ranking(item: Item, label: Label, answer: Ranked) -> Row:
    ranking = [list(tier) if len(tier) > 1 else tier[0] for tier in answer.tiers]
    return {"prompt": _prompt(item), "responses": list(item.responses), "ranking": ranking, **_by(item, label)}


def _grade(item: Item, label: Label, answer: Graded) -> Row:
    grade = {"prompt": _prompt(item), "responses": list(item.responses), "scores": [answer.score]}
    return {**grade, "flags": list(answer.flags), **_by(item, label)}


def _demonstration(item: Item, label: Label, answer: Written) -> Row:
    return {"prompt": _prompt(item), "completion": answer.text, **_by(item, label)}


def _dialogue(item: Item, label: Label, answer: RedTeamed) -> Row:
    dialogue = [turn.model_dump() for turn in answer.turns]
    return {"dialogue": dialogue, "severity": answer.severity, "goal": _prompt(item), **_by(item, label)}


def _write_each(labelled: Iterable[LabelledItem], path: Path, kind: type[Any], row: Any) -> Summary:
    """Write a row for each label of one kind."""
    tally = Tally()

    def rows() -> Iterator[Row]:
        for one in answered(labelled, kind, tally):
            tally.add(label.final for label in one.labels)
            yield from (row(one.item, label, label.final) for label in one.labels)

    return _write(path, rows(), tally)


def _write(path: Path, rows: Iterable[Row], tally: Tally) -> Summary:
    return tally.summary(write_rows(path, _some(rows, tally)))


def _some(rows: Iterable[Row], tally: Tally) -> Iterator[Row]:
    """The same rows. Raises `LabellingError` if there is none, as an empty file helps nobody."""
    none = True
    for row in rows:
        none = False
        yield row
    if none:
        reasons = "".join(f"\n  {number:,}: {reason}" for reason, number in tally.left_out.items() if number)
        raise LabellingError(
            "There is nothing to export" + (f". Labels left out:{reasons}" if reasons else ": no labels")
        )


def _prompt(item: Item) -> str | list[dict[str, str]]:
    """The prompt as text if it is one message of the user's, else as messages."""
    if len(item.prompt) == 1 and item.prompt[0].role == "user":
        return item.prompt[0].content
    return [turn.model_dump() for turn in item.prompt]


def _by(item: Item, label: Label) -> Row:
    return {"annotator": label.annotator, **_who(item, str(label.guidelines or ""))}


def _who(item: Item, version: str) -> Row:
    return {"item": item.key, **({"instructions_version": version} if version else {})}
