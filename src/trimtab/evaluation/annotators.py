"""How each annotator works: pace, leanings that are no judgement, and checks against what is known."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from trimtab.evaluation.statistics import Estimate, clustered_proportion


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one label of one annotator tells of how they work. None: this label says nothing about it.

    `shown_first` and `longer` have an entry for each pair of responses of which one was preferred: whether that one was
    shown before the other, and whether it was the longer (pairs of one length have none). `right` is against the known
    answer; `changed`, whether the vote after the critiques is another than the one before.
    """

    annotator: str
    item: str
    seconds: float
    too_hard: bool = False
    shown_first: tuple[bool, ...] = ()
    longer: tuple[bool, ...] = ()
    right: bool | None = None
    changed: bool | None = None


@dataclass(frozen=True, slots=True)
class Annotator:
    """One annotator's numbers, or everyone's. None where no label tells.

    `shown_first` is one half for whoever does not mind the place; `longer` is not, as good answers may be long: what
    tells is the difference from other annotators.
    """

    name: str
    labels: int
    median_seconds: float
    agreement: Estimate | None
    gold: Estimate | None
    shown_first: Estimate | None
    longer: Estimate | None
    too_hard: Estimate
    changed: Estimate | None


def annotator(name: str, judgements: Sequence[Judgement], agreement: Estimate | None = None) -> Annotator:
    """One annotator's numbers; intervals are clustered by item. `agreement` is that with others."""
    return _numbers(name, judgements, [judgement.item for judgement in judgements], agreement)


def everyone(judgements: Sequence[Judgement]) -> Annotator:
    """The numbers of all together; intervals are clustered by annotator, so n counts people."""
    return _numbers("everyone", judgements, [judgement.annotator for judgement in judgements], None)


def by_annotator(judgements: Iterable[Judgement], agreements: Mapping[str, Estimate]) -> list[Annotator]:
    """The numbers of each, those with most labels first."""
    found: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        found.setdefault(judgement.annotator, []).append(judgement)
    ordered = sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    return [annotator(name, theirs, agreements.get(name)) for name, theirs in ordered]


def _numbers(
    name: str, judgements: Sequence[Judgement], clusters: Sequence[Hashable], agreement: Estimate | None
) -> Annotator:
    too_hard = _share([(judgement.too_hard,) for judgement in judgements], clusters)
    if too_hard is None:
        raise ValueError(f"{name} gave no label")
    return Annotator(
        name=name,
        labels=len(judgements),
        median_seconds=median(judgement.seconds for judgement in judgements),
        agreement=agreement,
        gold=_share([_known(judgement.right) for judgement in judgements], clusters),
        shown_first=_share([judgement.shown_first for judgement in judgements], clusters),
        longer=_share([judgement.longer for judgement in judgements], clusters),
        too_hard=too_hard,
        changed=_share([_known(judgement.changed) for judgement in judgements], clusters),
    )


def _known(value: bool | None) -> tuple[bool, ...]:
    return () if value is None else (value,)


def _share(outcomes: Sequence[tuple[bool, ...]], clusters: Sequence[Hashable]) -> Estimate | None:
    values = [float(outcome) for of_label in outcomes for outcome in of_label]
    owners = [cluster for of_label, cluster in zip(outcomes, clusters, strict=True) for _ in of_label]
    return clustered_proportion(values, owners) if values else None
