"""The ways from votes to one probability, by the names they have on the command line."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.errors import LabellingError
from trimtab.evaluation.aggregation import Aggregation, balanced, dawid_skene, majority, vote_share

BALANCED = "balanced"
BY_VOTES: Mapping[str, Aggregation] = {"soft": vote_share, "majority": majority, "dawid-skene": dawid_skene}
"""Those that need nothing but votes."""


def aggregation(name: str, *, groups: Mapping[str, str] | None = None) -> Aggregation:
    """The aggregation of a name. `balanced` needs `groups`: the group of each annotator. Raises `LabellingError`."""
    if name == BALANCED:
        if not groups:
            raise LabellingError(
                "votes can be balanced between groups only where annotators say which they are of, and nobody has"
            )
        return lambda votes: balanced(votes, groups=groups)
    if name not in BY_VOTES:
        raise LabellingError(f"there is no aggregation {name!r}; there are {', '.join(BY_VOTES)} and {BALANCED}")
    return BY_VOTES[name]
