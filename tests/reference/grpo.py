"""GRPO's objective and importance weights, one response and one token at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.reference import kl


@dataclass(frozen=True)
class Response:
    """A response's advantage, and its tokens' log-probabilities under policy, old policy and reference."""

    advantage: float
    logprobs: Sequence[float]
    old_logprobs: Sequence[float]
    ref_logprobs: Sequence[float]
    weights: Sequence[float] | None = None

    def terms(self, clip_eps: float, beta: float) -> list[float]:
        """What stands behind the sum over t in DeepSeekMath, equation 3: min(rho A, clip(rho) A) - beta k3.

        A token's importance weight multiplies the clipped term and not the penalty.
        """
        terms = []
        for t in range(len(self.logprobs)):
            rho = math.exp(self.logprobs[t]) / math.exp(self.old_logprobs[t])
            held = min(max(rho, 1 - clip_eps), 1 + clip_eps)
            surrogate = min(rho * self.advantage, held * self.advantage)
            weight = 1.0 if self.weights is None else self.weights[t]
            terms.append(weight * surrogate - beta * kl.k3(math.exp(self.logprobs[t]), math.exp(self.ref_logprobs[t])))
        return terms


def objective(responses: Sequence[Response], clip_eps: float, beta: float) -> float:
    """Shao et al. 2024 (DeepSeekMath), equations 3 and 4: 1/G sum_i 1/|o_i| sum_t. An empty response has no terms."""
    means = [sum(terms) / len(terms) if terms else 0.0 for terms in (r.terms(clip_eps, beta) for r in responses)]
    return sum(means) / len(responses)


def token_level_objective(responses: Sequence[Response], clip_eps: float, beta: float) -> float:
    """Yu et al. 2025 (DAPO), equation 8: 1 / sum_i |o_i| sum_i sum_t."""
    terms = [term for response in responses for term in response.terms(clip_eps, beta)]
    return sum(terms) / len(terms)


def importance_weight(logprob: float, sampler_logprob: float, cap: float) -> float:
    """min(p / q, cap), for a token that q drew."""
    return min(math.exp(logprob) / math.exp(sampler_logprob), cap)
