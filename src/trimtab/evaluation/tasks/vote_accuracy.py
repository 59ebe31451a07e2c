"""Whose judgement a reward model shares: its accuracy against the votes of each annotator, and of groups of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trimtab.evaluation.small_cells import showable
from trimtab.evaluation.statistics import Estimate, clustered_proportion
from trimtab.types import Comparison, Prompt

_NOT_SAID = "not said"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How far the scores agree with one vote: 1, 0, or one half where they are equal."""

    annotator: str
    prompt: Prompt
    right: float


def accuracy_by_annotator(
    comparisons: Sequence[Comparison], chosen_scores: Sequence[float], rejected_scores: Sequence[float]
) -> dict[str, Estimate]:
    """Accuracy of scores against each annotator's own votes, by annotator; intervals are clustered by prompt.

    Comparisons whose votes and annotators are not both known one by one are passed over, and so are votes for a tie.
    """
    return _by_name((one.annotator, one) for one in _outcomes(comparisons, chosen_scores, rejected_scores))


def accuracy_by_group(
    comparisons: Sequence[Comparison],
    chosen_scores: Sequence[float],
    rejected_scores: Sequence[float],
    values: Mapping[str, str],
) -> dict[str, Estimate]:
    """The same by group of annotators. `values` is what each annotator said of one attribute.

    Groups of fewer than five people who voted are merged, and nothing is told where fewer than two groups are left.
    """
    outcomes = list(_outcomes(comparisons, chosen_scores, rejected_scores))
    said = {one.annotator: values.get(one.annotator) or _NOT_SAID for one in outcomes}
    name_of = {value: cell.name for cell in showable(Counter(said.values())) for value in cell.values}
    return _by_name((name_of[said[one.annotator]], one) for one in outcomes) if name_of else {}


def _outcomes(
    comparisons: Sequence[Comparison], chosen_scores: Sequence[float], rejected_scores: Sequence[float]
) -> Iterator[_Outcome]:
    for comparison, chosen, rejected in zip(comparisons, chosen_scores, rejected_scores, strict=True):
        if len(comparison.annotators) != len(comparison.votes):
            continue
        for annotator, vote in zip(comparison.annotators, comparison.votes, strict=True):
            if vote != 0.5:
                right = 0.5 if chosen == rejected else float((chosen > rejected) == (vote > 0.5))
                yield _Outcome(annotator, comparison.prompt, right)


def _by_name(named: Iterator[tuple[str, _Outcome]]) -> dict[str, Estimate]:
    groups: dict[str, list[_Outcome]] = defaultdict(list)
    for name, outcome in named:
        groups[name].append(outcome)
    return {
        name: clustered_proportion([one.right for one in several], [one.prompt for one in several])
        for name, several in sorted(groups.items())
    }
