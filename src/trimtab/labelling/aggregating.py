"""The ways from votes to one probability, by the names they have on the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from trimtab.errors import LabellingError
from trimtab.evaluation.aggregation import Aggregation, balanced, dawid_skene, majority, vote_share
from trimtab.evaluation.small_cells import FEWEST
from trimtab.evaluation.votes import Question, Vote

BALANCED = "balanced"
BY_VOTES: Mapping[str, Aggregation] = {"soft": vote_share, "majority": majority, "dawid-skene": dawid_skene}
"""Those that need nothing but votes."""


def aggregation(name: str, *, groups: Mapping[str, str] | None = None) -> Aggregation:
    """The aggregation of a name. `balanced` needs `groups`: the group of each annotator. Raises `LabellingError`.

    So does `balanced` itself where fewer than five people of a group have voted: who they are would follow.
    """
    if name == BALANCED:
        if not groups:
            raise LabellingError(
                "votes can be balanced between groups only where annotators say which they are of, and nobody has"
            )
        return lambda votes: _balanced(votes, groups)
    if name not in BY_VOTES:
        raise LabellingError(f"there is no aggregation {name!r}; there are {', '.join(BY_VOTES)} and {BALANCED}")
    return BY_VOTES[name]


def _balanced(votes: Sequence[Vote], groups: Mapping[str, str]) -> dict[Question, float]:
    voters = Counter(groups[name] for name in {vote.annotator for vote in votes} if name in groups)
    if any(people < FEWEST for people in voters.values()):
        # which value it is stays unsaid: that few people have it is told nowhere else
        raise LabellingError(
            f"votes are balanced only between groups of at least {FEWEST} people who voted, as what people said of "
            "themselves leaves a project only in aggregates over as many, and one group is smaller: docs/annotators.md"
        )
    return balanced(votes, groups=groups)
