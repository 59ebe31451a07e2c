"""How often a reward model prefers the response that people preferred, on comparisons it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trimtab.evaluation.agreement import ceiling_accuracy, pairwise_agreement
from trimtab.evaluation.statistics import Estimate, clustered_proportion
from trimtab.types import Comparison

LEVELS = ("unanimous", "majority", "split", "one vote")
"""How far annotators agree: all as one; at least two in three for the better response; fewer; nobody to agree with."""


@dataclass(frozen=True, slots=True)
class RewardAccuracy:
    """Accuracy against the majority label, overall and by how far the annotators of a comparison agreed (`LEVELS`).

    `left_out` comparisons were exact ties among annotators and have no right answer. `agreement` is how often two
    annotators of one comparison agree, `ceiling` the accuracy a perfect judge would show against single annotators;
    both are None where no comparison has two votes.
    """

    overall: Estimate
    left_out: int
    by_agreement: dict[str, Estimate] = field(default_factory=dict)
    agreement: Estimate | None = None
    ceiling: Estimate | None = None


def reward_accuracy(
    comparisons: Sequence[Comparison], chosen_scores: Sequence[float], rejected_scores: Sequence[float]
) -> RewardAccuracy | None:
    """Accuracy of scores on labelled comparisons; equal scores count one half. Intervals are clustered by prompt.

    The label is the majority's: `probability` above one half means the first response is the better one. Returns None
    when no comparison has a majority.
    """
    outcomes = [
        (comparison, _outcome(comparison.probability, chosen - rejected))
        for comparison, chosen, rejected in zip(comparisons, chosen_scores, rejected_scores, strict=True)
        if comparison.probability != 0.5
    ]
    if not outcomes:
        return None
    buckets: dict[str, list[tuple[Comparison, float]]] = {}
    for pair in outcomes:
        buckets.setdefault(_level(pair[0]), []).append(pair)
    agreement = annotator_agreement(comparisons)
    return RewardAccuracy(
        overall=_estimate(outcomes),
        left_out=len(comparisons) - len(outcomes),
        by_agreement={name: _estimate(buckets[name]) for name in LEVELS if name in buckets} if len(buckets) > 1 else {},
        agreement=agreement,
        ceiling=ceiling_accuracy(agreement) if agreement is not None else None,
    )


def annotator_agreement(comparisons: Sequence[Comparison]) -> Estimate | None:
    """How often two annotators of one comparison agree, of those who prefer a response; None where no two do.

    Ties are left out: `ceiling_accuracy` reads agreement as that of choices between two.
    """
    votes = [[vote for vote in comparison.votes if vote != 0.5] for comparison in comparisons]
    return pairwise_agreement(votes) if any(len(unit) > 1 for unit in votes) else None


def _level(comparison: Comparison) -> str:
    votes = comparison.votes
    if len(votes) < 2:
        return "one vote"
    if len({*votes}) == 1:
        return "unanimous"
    for_better = max(sum(votes), len(votes) - sum(votes))
    return "majority" if 3 * for_better >= 2 * len(votes) else "split"


def _outcome(probability: float, difference: float) -> float:
    if difference == 0.0:
        return 0.5
    return float((difference > 0.0) == (probability > 0.5))


def _estimate(outcomes: Sequence[tuple[Comparison, float]]) -> Estimate:
    return clustered_proportion([value for _, value in outcomes], [comparison.prompt for comparison, _ in outcomes])
