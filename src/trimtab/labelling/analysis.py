"""What labels tell of agreement, of annotators and of groups: labels as `trimtab.evaluation` takes them.

Items with a known answer check annotators and tell nothing else: they are easier, and everyone answers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.evaluation.annotators import Annotator, Judgement, by_annotator, everyone
from trimtab.evaluation.groups import Groups, compare_groups
from trimtab.evaluation.representation import Attributes, Representation, pool_cells, represent, said
from trimtab.evaluation.scales import Agreement, Scale, agreement, agreement_with_others
from trimtab.evaluation.votes import Question, Vote, by_question
from trimtab.labelling.assignment import is_right
from trimtab.labelling.judgements import preferences
from trimtab.labelling.records import Answer, Graded, Item, Label, LabelledItem, Ranked, TooHard

Labelled = Iterable[LabelledItem]

_CHOICE = {-2: -1, -1: -1, 1: 1, 2: 1}


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that `analyse` finds. `representation` and `groups` are by attribute and never of fewer than five people."""

    items: int
    labels: int
    agreement: tuple[Agreement, ...]
    everyone: Annotator | None
    annotators: tuple[Annotator, ...]
    representation: Mapping[str, Representation]
    groups: Mapping[str, Groups]


def analyse(
    labelled: Labelled,
    attributes: Attributes | None = None,
    target: Mapping[str, Mapping[str, float]] | None = None,
    *,
    first: int | None = None,
    seed: int = 0,
) -> Analysis:
    """Agreement, people and groups. `first`: only so many labels of each item count for agreement.

    Where further labels were asked for because the first disagreed, those items would weigh more, and all of them would
    make agreement look worse than it is.
    """
    entries = _once(labelled)
    judgements = [judgement(entry.item, label) for entry in entries for label in entry.labels]
    compared = scales(first_labels(entries, first))
    votes = first_votes(entries)
    people = {vote.annotator for vote in votes} or {judged.annotator for judged in judgements}
    attributes, target = attributes or {}, target or {}
    known = {name for person in people for name in attributes.get(person, {})}
    values = {name: said(attributes, name, people) for name in sorted({*known, *target})}
    return Analysis(
        items=sum(bool(entry.labels) for entry in entries),
        labels=len(judgements),
        agreement=tuple(found for scale in compared if (found := agreement(scale, seed=seed)) is not None),
        everyone=everyone(judgements) if judgements else None,
        annotators=tuple(by_annotator(judgements, agreement_with_others(compared))),
        representation={name: represent(values[name], shares) for name, shares in target.items()},
        groups={
            name: compare_groups(votes, of_people, pool_cells(of_people, target.get(name, ())), seed=seed)
            for name, of_people in values.items()
            if votes
        },
    )


def first_votes(labelled: Labelled) -> list[Vote]:
    """Votes on pairs of responses, of comparisons and rankings, before anyone saw a critique."""
    return [
        Vote(question, label.annotator, preference)
        for entry in _unknown(labelled)
        for label in entry.labels
        for question, preference in preferences(entry.item.key, label.answer)
    ]


def scales(labelled: Labelled) -> list[Scale]:
    """Comparisons and rankings as choices, without and with ties, and by strength; grades. Only those with ratings."""
    entries = list(_unknown(labelled))
    found = []
    for kind, name in (("compare", "comparisons"), ("rank", "rankings, as pairs")):
        votes = by_question(first_votes(entry for entry in entries if entry.item.kind == kind))
        found.append(_scale(f"{name}: first, second", votes, _CHOICE, binary=True))
        found.append(_scale(f"{name}: first, tie, second", votes, {**_CHOICE, 0: 0}, tolerance=0))
        if kind == "compare":
            strengths = {preference: preference for preference in range(-2, 3)}
            found.append(_scale(f"{name}: five levels", votes, strengths, levels=("ordinal", "interval")))
    graded = [entry for entry in entries if entry.item.kind == "grade"]
    grades = [
        {label.annotator: label.answer.score for label in entry.labels if isinstance(label.answer, Graded)}
        for entry in graded
    ]
    found.append(Scale("grades", grades, [entry.item.key for entry in graded], ("ordinal", "interval"), tolerance=1))
    return [scale for scale in found if any(scale.units)]


def first_labels(labelled: Labelled, number: int | None) -> list[LabelledItem]:
    """Each item with its first labels only; with all of them for None."""
    return [entry.model_copy(update={"labels": entry.labels[:number]}) for entry in labelled]


def judgement(item: Item, label: Label) -> Judgement:
    """What a label tells of how its annotator works."""
    won = [
        (one, other) if preference > 0 else (other, one)
        for (_, one, other), preference in preferences(item.key, label.answer)
        if preference
    ]
    place = {number: place for place, number in enumerate(label.order)}
    shown = sorted(label.order) == list(range(len(item.responses)))
    length = [len(response) for response in item.responses]
    return Judgement(
        annotator=label.annotator,
        item=item.key,
        seconds=label.seconds,
        too_hard=isinstance(label.answer, TooHard),
        shown_first=tuple(place[winner] < place[loser] for winner, loser in won) if shown else (),
        longer=tuple(length[winner] > length[loser] for winner, loser in won if length[winner] != length[loser]),
        right=None if item.gold is None else is_right(label.answer, item.gold),
        changed=None if label.after_aid is None else _vote(label.answer) != _vote(label.after_aid),
    )


def _once(labelled: Labelled) -> list[LabelledItem]:
    """One entry an item, the quiz left out, and of each person the first label only: as a project keeps them."""
    found: dict[str, tuple[Item, dict[str, Label]]] = {}
    for entry in labelled:
        if not entry.item.is_quiz:
            _, labels = found.setdefault(entry.item.key, (entry.item, {}))
            for label in entry.labels:
                labels.setdefault(label.annotator, label)
    return [LabelledItem(item=item, labels=tuple(labels.values())) for item, labels in found.values()]


def _unknown(labelled: Labelled) -> Iterator[LabelledItem]:
    """Those without a known answer."""
    return (entry for entry in labelled if entry.item.gold is None)


def _scale(name: str, votes: Mapping[Question, Sequence[Vote]], reading: Mapping[int, int], **options: Any) -> Scale:
    """Votes as ratings: `reading` says which rating each preference is; others are left out."""
    units = [
        {vote.annotator: reading[vote.preference] for vote in cast if vote.preference in reading}
        for cast in votes.values()
    ]
    return Scale(name, units, [question[0] for question in votes], **options)


def _vote(answer: Answer) -> object:
    """An answer without its reason and remarks."""
    if isinstance(answer, Ranked):
        return [set(tier) for tier in answer.tiers]
    return answer.model_dump(include={"kind", "preference", "score"})
