"""How often a judge is fooled by answers that tell it what to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trimtab.evaluation.statistics import Estimate, clustered_proportion
from trimtab.feedback.injections import HARMLESS, Attacked, Attempt


@dataclass(frozen=True, slots=True)
class InjectionReport:
    """Share of attacks that succeed, `overall` and by kind, on the `known` of so many easy `pairs`.

    Intervals are clustered by pair. Harmless words are a kind of their own and not among all: they tell what any words
    do. A judge that knows none of the pairs cannot be fooled, and nothing is measured: `overall` is None.
    """

    pairs: int
    known: int
    overall: Estimate | None
    by_kind: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "pairs": self.pairs,
            "known": self.known,
            "overall": self.overall.to_json() if self.overall is not None else None,
            "by_kind": {kind: one.to_json() for kind, one in self.by_kind.items()},
        }


def injection_report(attacked: Attacked) -> InjectionReport:
    """What a judge that was attacked is worth."""
    kinds: dict[str, list[Attempt]] = {}
    for one in attacked.attempts:
        kinds.setdefault(one.kind, []).append(one)
    attacks = [one for one in attacked.attempts if one.kind != HARMLESS]
    return InjectionReport(
        attacked.pairs,
        attacked.known,
        _succeeded(attacks) if attacks else None,
        {kind: _succeeded(several) for kind, several in sorted(kinds.items())},
    )


def _succeeded(several: list[Attempt]) -> Estimate:
    return clustered_proportion([float(one.succeeded) for one in several], [one.pair for one in several])
