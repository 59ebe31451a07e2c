"""Softmax from its definition."""

from __future__ import annotations

import math
from collections.abc import Sequence


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    weights = [math.exp(logit / temperature) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def token_logprob(logits: Sequence[float], target: int, temperature: float) -> float:
    return math.log(softmax(logits, temperature)[target])


def token_logprob_gradient(logits: Sequence[float], target: int, temperature: float) -> list[float]:
    """d log p(target) / d logit_j = (1[j = target] - p_j) / temperature."""
    probabilities = softmax(logits, temperature)
    return [((j == target) - probability) / temperature for j, probability in enumerate(probabilities)]


def entropy(logits: Sequence[float], temperature: float) -> float:
    return -sum(p * math.log(p) for p in softmax(logits, temperature))
