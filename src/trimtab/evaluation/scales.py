"""How far annotators agree on each kind of judgement, beside what others found."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from trimtab.evaluation.agreement import (
    Level,
    ceiling,
    ceiling_accuracy,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    pairwise_agreement,
)
from trimtab.evaluation.statistics import Estimate, clustered_proportion


@dataclass(frozen=True, slots=True)
class Scale:
    """Ratings of one kind: for each unit, what each annotator said of it by name.

    `clusters[i]` is what unit i belongs to: the pairs of one ranking are no independent units. Annotators are held
    against one another on scales with a `tolerance`: ratings at most so far apart agree. On a `binary` scale there are
    two answers, so that agreement says how accurate anything learnt from it can look.
    """

    name: str
    units: Sequence[Mapping[str, int]]
    clusters: Sequence[Hashable]
    levels: tuple[Level, ...] = ("nominal",)
    tolerance: int | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """A scale's measures. One is None where it is not defined: `fleiss` needs equally many ratings of each unit."""

    scale: str
    ratings: int
    pairwise: Estimate
    cohen: Estimate | None
    fleiss: Estimate | None
    alpha: Mapping[Level, Estimate]
    ceiling: Estimate | None


@dataclass(frozen=True, slots=True)
class Norm:
    """A published agreement between two people who chose between the same two responses."""

    who: str
    agreement: float
    plus_minus: float | None
    source: str

    @property
    def ceiling(self) -> float:
        """The accuracy it allows a reward model to show."""
        return ceiling(self.agreement)


NORMS = (
    Norm("labellers of InstructGPT", 0.726, 0.015, "Ouyang et al. 2022, arXiv 2203.02155, section 3.4"),
    Norm("labellers held out from it", 0.773, 0.013, "Ouyang et al. 2022, arXiv 2203.02155, section 3.4"),
    Norm("Anthropic's researchers and crowd workers", 0.63, None, "Bai et al. 2022, arXiv 2204.05862"),
)


def agreement(scale: Scale, *, seed: int = 0) -> Agreement | None:
    """All measures of a scale; None if nothing was rated twice."""
    kept = [place for place, unit in enumerate(scale.units) if len(unit) > 1]
    if not kept:
        return None
    units = [scale.units[place] for place in kept]
    clusters = [scale.clusters[place] for place in kept]
    ratings = [list(unit.values()) for unit in units]
    varied = len({rating for unit in ratings for rating in unit}) > 1
    equally_many = len({len(unit) for unit in ratings}) == 1
    pairwise = pairwise_agreement(ratings, clusters)
    return Agreement(
        scale=scale.name,
        ratings=sum(map(len, ratings)),
        pairwise=pairwise,
        cohen=cohen_kappa(units, clusters, seed=seed) if varied else None,
        fleiss=fleiss_kappa(ratings, clusters, seed=seed) if varied and equally_many else None,
        alpha={level: krippendorff_alpha(ratings, level, clusters, seed=seed) for level in scale.levels if varied},
        ceiling=ceiling_accuracy(pairwise) if scale.binary else None,
    )


def agreement_with_others(scales: Sequence[Scale]) -> dict[str, Estimate]:
    """By annotator: the share of others' ratings of the same units that theirs agree with, clustered as the scales say.

    Annotators with whom nobody shares a unit are left out, and so are scales without a tolerance.
    """
    found: dict[str, tuple[list[float], list[Hashable]]] = {}
    for scale in scales:
        if scale.tolerance is None:
            continue
        for unit, cluster in zip(scale.units, scale.clusters, strict=True):
            for name, rating in unit.items():
                others = [abs(rating - other) <= scale.tolerance for them, other in unit.items() if them != name]
                values, owners = found.setdefault(name, ([], []))
                values += map(float, others)
                owners += [cluster] * len(others)
    return {name: clustered_proportion(values, owners) for name, (values, owners) in found.items() if values}
