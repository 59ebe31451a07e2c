"""The proportional odds model, one grade at a time (McCullagh 1980)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tests.reference.preference import sigmoid


def cumulative_logit(score: float, level: int, thresholds: Sequence[float]) -> float:
    """-log P(level): the logit of P(at most k) is thresholds[k] - score, and P(at most the highest) is 1."""
    at_most = [sigmoid(threshold - score) for threshold in thresholds] + [1.0]
    below = at_most[level - 1] if level else 0.0
    return -math.log(at_most[level] - below)
