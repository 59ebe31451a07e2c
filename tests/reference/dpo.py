"""DPO for one comparison at a time: lists hold the log-probabilities of a response's tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

Both = tuple[Sequence[float], Sequence[float]]
"""Log-probabilities of one response's tokens under the policy, and under the reference."""


def implicit_reward(response: Both, beta: float) -> float:
    """beta log (pi(y) / pi_ref(y)), where a response's log-probability is the sum of its tokens'."""
    policy, reference = (sum(logprobs) for logprobs in response)
    return beta * (policy - reference)


def loss(chosen: Both, rejected: Both, beta: float, probability: float = 1.0) -> float:
    """Rafailov et al. 2023, equation 7, of the comparison as it is labelled with probability p, and of the other one
    with 1 - p."""

    def as_labelled(better: Both, worse: Both) -> float:
        surplus = implicit_reward(better, beta) - implicit_reward(worse, beta)
        return -math.log(1 / (1 + math.exp(-surplus)))

    return probability * as_labelled(chosen, rejected) + (1 - probability) * as_labelled(rejected, chosen)
