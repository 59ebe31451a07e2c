"""Losses on comparisons and rankings, one comparison or one choice at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, permutations

from tests.reference.statistics import mean


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def bradley_terry(
    chosen: float, rejected: float, probability: float = 1.0, margin: float = 0.0, centering: float = 0.0
) -> float:
    """Cross-entropy between the label and sigmoid(chosen - rejected - margin), plus the pull towards 0."""
    predicted = sigmoid(chosen - rejected - margin)
    cross_entropy = -probability * math.log(predicted) - (1 - probability) * math.log(1 - predicted)
    return cross_entropy + centering * (chosen + rejected) ** 2


def agreement(scores: Sequence[float], ranks: Sequence[int]) -> tuple[float, float] | None:
    """Share of one prompt's pairs that are not tied which the scores order as the ranks do, and by how much."""
    pairs = [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]
    if not pairs:
        return None
    margins = [scores[better] - scores[worse] for better, worse in pairs]
    return mean([float(margin > 0) for margin in margins]), mean(margins)


def plackett_luce(scores: Sequence[float], ranks: Sequence[int]) -> float:
    """-log P(ranking of one prompt): the probabilities of all orders without ties that it allows, added up."""
    probability = 0.0
    for order in permutations(range(len(scores))):
        if all(ranks[better] <= ranks[worse] for better, worse in pairwise(order)):
            one = 1.0
            for place, chosen in enumerate(order):
                one *= math.exp(scores[chosen]) / sum(math.exp(scores[left]) for left in order[place:])
            probability += one
    return -math.log(probability)
