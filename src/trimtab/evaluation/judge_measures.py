"""How good a judge is, beside people's labels: right, fair to both places, drawn to length, sure with reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trimtab.evaluation.length_bias import length_slope
from trimtab.evaluation.statistics import Estimate, clustered_proportion, mean
from trimtab.evaluation.tasks.reward_accuracy import annotator_agreement
from trimtab.types import Comparison

Own = Literal["", "chosen", "rejected"]
"""Which response of a comparison the judge itself wrote."""
CHANCE = 0.5
BINS = 5
"""Bins of the calibration curve, of the probability given to the preferred response, from 1/2 to 1."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled comparison and what a judge said of it.

    `probability` is P(chosen is the better one), None where the judge gave none, with the reason in `why`. `places` are
    the same by order, chosen in front and behind, where there are two orders. `mass` is the probability of all options
    together, where options are asked for. `own` says which response the judge itself wrote, if it wrote one of the two.
    """

    comparison: Comparison
    probability: float | None
    why: str = ""
    places: tuple[float, float] | None = None
    mass: float | None = None
    own: Own = ""


@dataclass(frozen=True, slots=True)
class Bin:
    """Judgements of about one confidence: how many, its mean, and the share of them that are right."""

    judgements: int
    confidence: float
    right: Estimate


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a judge is worth on labelled comparisons.

    `accuracy` is against the majority of people, over the comparisons that the judge decided; `decided` is the share of
    those. `front` is the mean probability of whatever stands in front (1/2 is fair), `steady` the share on which both
    orders prefer the same response. `longer` and `people_longer` are the shares of the judge's and of people's choices
    that fall on the longer response; `length_slope` is what a response's being twice as long adds to the log-odds that
    the judge chooses it, at equal choices of people. `self_preference` is by how much more often than people the judge
    chooses what it wrote itself. `mass` is the mean probability of all options together. `calibration_error` is the
    mean gap between confidence and accuracy. `with_one` is how often it agrees with one person, over the comparisons
    that several people labelled, and `agreement` how often two of those agree: the one is to be held against the other,
    as a majority is easier to agree with than a person. All are None where nothing can be counted.
    """

    comparisons: int
    decided: Estimate | None
    left_out: dict[str, int]
    accuracy: Estimate | None
    front: Estimate | None
    steady: Estimate | None
    longer: Estimate | None
    people_longer: Estimate | None
    length_slope: Estimate | None
    self_preference: Estimate | None
    mass: Estimate | None
    calibration: tuple[Bin, ...]
    calibration_error: float | None
    with_one: Estimate | None
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
            {"judgements": one.judgements, "confidence": one.confidence, "right": one.right.to_json()}
            for one in self.calibration
        ]
        return plain | {"beats_chance": self.beats_chance}


def judge_report(judged: Sequence[Judged]) -> JudgeReport:
    """Measure a judge. Comparisons on which people are split evenly are passed over; intervals cluster by prompt."""
    labelled = [one for one in judged if one.comparison.probability != CHANCE]
    decided = [one for one in labelled if one.probability is not None]
    bins = _bins(decided)
    return JudgeReport(
        comparisons=len(judged),
        decided=_share([one.probability is not None for one in labelled], labelled),
        left_out=dict(Counter(one.why for one in labelled if one.probability is None)),
        accuracy=_share([_right(one) for one in decided], decided),
        front=_mean([(one, (one.places[0] + 1 - one.places[1]) / 2) for one in labelled if one.places]),
        steady=_share([(one.places[0] > CHANCE) == (one.places[1] > CHANCE) for one in labelled if one.places],
                      [one for one in labelled if one.places]),
        longer=_share([_is_longer(one, one.probability or 0.0) for one in decided], decided),
        people_longer=_share([_is_longer(one, one.comparison.probability) for one in decided], decided),
        length_slope=_length_slope(decided),
        self_preference=_self_preference(decided),
        mass=_mean([(one, one.mass) for one in judged if one.mass is not None]),
        calibration=bins,
        calibration_error=sum(one.judgements * abs(one.confidence - one.right.value) for one in bins) / len(decided)
        if bins else None,
        with_one=_with_one(decided),
        agreement=annotator_agreement([one.comparison for one in judged]),
    )  # fmt: skip


def _right(one: Judged) -> float:
    """1, 0, or one half where the judge is exactly undecided."""
    if one.probability == CHANCE:
        return 0.5
    return float(((one.probability or 0.0) > CHANCE) == (one.comparison.probability > CHANCE))


def _with_one(decided: Sequence[Judged]) -> Estimate | None:
    """How often the judge chooses as one person does, of those who choose where others do too."""
    found = []
    for one in decided:
        votes = [vote for vote in one.comparison.votes if vote != CHANCE]
        if len(votes) > 1:
            choice = _choice(one.probability or 0.0)
            found.append((one, sum(1 - abs(choice - vote) for vote in votes) / len(votes)))
    return _mean(found)


def _is_longer(one: Judged, probability: float) -> float:
    """Whether the choice with this probability of `chosen` is the longer response; one half where it cannot be told."""
    difference = len(one.comparison.chosen) - len(one.comparison.rejected)
    if difference == 0 or probability == CHANCE:
        return 0.5
    return float((difference > 0) == (probability > CHANCE))


def _length_slope(decided: Sequence[Judged]) -> Estimate | None:
    counted = [one for one in decided if one.comparison.chosen and one.comparison.rejected]
    return length_slope(
        [_choice(one.probability or 0.0) for one in counted],
        [math.copysign(1.0, one.comparison.probability - CHANCE) for one in counted],
        [math.log2(len(one.comparison.chosen) / len(one.comparison.rejected)) for one in counted],
        [one.comparison.prompt for one in counted],
    )


def _self_preference(decided: Sequence[Judged]) -> Estimate | None:
    """Share of the judge's choices that fall on its own response, less people's, over the same comparisons."""
    own = [one for one in decided if one.own]
    if not own:
        return None
    sign = {"chosen": 1.0, "rejected": -1.0}
    more = [sign[one.own] * (_choice(one.probability or 0.0) - _choice(one.comparison.probability)) for one in own]
    return mean(more, [one.comparison.prompt for one in own])


def _choice(probability: float) -> float:
    """A probability of `chosen` as a choice: 1 for it, 0 for the other, one half where there is none."""
    return 0.5 if probability == CHANCE else float(probability > CHANCE)


def _share(values: Sequence[float], of: Sequence[Judged]) -> Estimate | None:
    if not values:
        return None
    return clustered_proportion([float(value) for value in values], [one.comparison.prompt for one in of])


def _mean(values: Sequence[tuple[Judged, float]]) -> Estimate | None:
    if not values:
        return None
    return mean([value for _, value in values], [one.comparison.prompt for one, _ in values])


def _bins(decided: Sequence[Judged]) -> tuple[Bin, ...]:
    """The calibration curve: judgements by the probability of what the judge prefers."""
    found: dict[int, list[tuple[float, Judged]]] = {}
    for one in decided:
        confidence = max(one.probability or 0.0, 1 - (one.probability or 0.0))
        place = min(int((confidence - 0.5) * 2 * BINS), BINS - 1)
        found.setdefault(place, []).append((confidence, one))
    return tuple(
        Bin(
            len(several),
            sum(confidence for confidence, _ in several) / len(several),
            clustered_proportion([_right(one) for _, one in several], [one.comparison.prompt for _, one in several]),
        )
        for _, several in sorted(found.items())
    )
