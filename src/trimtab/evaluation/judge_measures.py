"""How good a judge is, beside people's labels: right, fair to both places, drawn to length, sure with reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.evaluation.statistics import Estimate, clustered_proportion, mean
from trimtab.evaluation.tasks.reward_accuracy import annotator_agreement
from trimtab.types import Comparison

CHANCE = 0.5
BINS = 5
"""Bins of the calibration curve, of the probability given to the preferred response, from 1/2 to 1."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled comparison and what a judge said of it.

    `probability` is P(chosen is the better one), None where the judge gave none, with the reason in `why`. `places` are
    the same by order, chosen in front and behind, where there are two orders.
    """

    comparison: Comparison
    probability: float | None
    why: str = ""
    places: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Bin:
    """Judgements of about one confidence: its mean, and the share of them that are right."""

    confidence: float
    right: Estimate


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a judge is worth on labelled comparisons.

    `accuracy` is against the majority of people, over the comparisons that the judge decided; `decided` is the share of
    those. `front` is the mean probability of whatever stands in front (1/2 is fair), `steady` the share on which both
    orders prefer the same response. `longer` and `people_longer` are the shares of the judge's and of people's choices
    that fall on the longer response. `calibration_error` is the mean gap between confidence and accuracy. `agreement`
    is how often two people agree, for comparison. All are None where nothing can be counted.
    """

    comparisons: int
    decided: Estimate | None
    left_out: dict[str, int]
    accuracy: Estimate | None
    front: Estimate | None
    steady: Estimate | None
    longer: Estimate | None
    people_longer: Estimate | None
    calibration: tuple[Bin, ...]
    calibration_error: float | None
    agreement: Estimate | None

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval of the accuracy is above one half."""
        return self.accuracy is not None and self.accuracy.low > CHANCE

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain |= {name: one.to_json() for name, one in plain.items() if isinstance(one, Estimate)}
        plain["calibration"] = [
            {"confidence": one.confidence, "right": one.right.to_json()} for one in self.calibration
        ]
        return plain | {"beats_chance": self.beats_chance}


def judge_report(judged: Sequence[Judged]) -> JudgeReport:
    """Measure a judge. Comparisons on which people are split evenly are passed over; intervals cluster by prompt."""
    labelled = [one for one in judged if one.comparison.probability != CHANCE]
    decided = [one for one in labelled if one.probability is not None]
    places = [one.places for one in labelled if one.places is not None]
    bins = _bins(decided)
    return JudgeReport(
        comparisons=len(judged),
        decided=_share([one.probability is not None for one in labelled], labelled),
        left_out=dict(Counter(one.why for one in labelled if one.probability is None)),
        accuracy=_share([_right(one) for one in decided], decided),
        front=mean([(front + 1 - behind) / 2 for front, behind in places]) if places else None,
        steady=_share([(one.places[0] > CHANCE) == (one.places[1] > CHANCE) for one in labelled if one.places],
                      [one for one in labelled if one.places]),
        longer=_share([_is_longer(one, one.probability or 0.0) for one in decided], decided),
        people_longer=_share([_is_longer(one, one.comparison.probability) for one in decided], decided),
        calibration=bins,
        calibration_error=sum(one.right.n * abs(one.confidence - one.right.value) for one in bins)
        / sum(one.right.n for one in bins) if bins else None,
        agreement=annotator_agreement([one.comparison for one in judged]),
    )  # fmt: skip


def _right(one: Judged) -> float:
    """1, 0, or one half where the judge is exactly undecided."""
    if one.probability == CHANCE:
        return 0.5
    return float(((one.probability or 0.0) > CHANCE) == (one.comparison.probability > CHANCE))


def _is_longer(one: Judged, probability: float) -> float:
    """Whether the choice with this probability of `chosen` is the longer response; one half where it cannot be told."""
    difference = len(one.comparison.chosen) - len(one.comparison.rejected)
    if difference == 0 or probability == CHANCE:
        return 0.5
    return float((difference > 0) == (probability > CHANCE))


def _share(values: Sequence[float], of: Sequence[Judged]) -> Estimate | None:
    if not values:
        return None
    return clustered_proportion([float(value) for value in values], [one.comparison.prompt for one in of])


def _bins(decided: Sequence[Judged]) -> tuple[Bin, ...]:
    """The calibration curve: judgements by the probability of what the judge prefers."""
    found: dict[int, list[tuple[float, Judged]]] = {}
    for one in decided:
        confidence = max(one.probability or 0.0, 1 - (one.probability or 0.0))
        place = min(int((confidence - 0.5) * 2 * BINS), BINS - 1)
        found.setdefault(place, []).append((confidence, one))
    return tuple(
        Bin(
            sum(confidence for confidence, _ in found[place]) / len(found[place]),
            clustered_proportion([_right(one) for _, one in found[place]], range(len(found[place]))),
        )
        for place in sorted(found)
    )
