"""Group advantages, one group at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.reference.statistics import mean


def group_relative(scores: Sequence[float], scale: bool) -> list[float]:
    centre = mean(scores)
    centred = [score - centre for score in scores]
    if not scale:
        return centred
    spread = math.sqrt(sum(c**2 for c in centred) / (len(scores) - 1)) if len(scores) > 1 else 0.0
    return [c / (spread + 1e-4) for c in centred]


def leave_one_out(scores: Sequence[float]) -> list[float]:
    advantages = []
    for i, score in enumerate(scores):
        others = [other for j, other in enumerate(scores) if j != i]
        advantages.append(score - mean(others))
    return advantages
