"""How the tokens of a batch are weighed against each other: every token alike, or every response alike."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Aggregation = Literal["token", "response"]


def token_weights(mask: Tensor, aggregation: Aggregation) -> Tensor:
    """The weight of each real token, 0 in padding. Shapes: `mask` `[R, T]`, result the same, float32.

    "token": 1, so a long response says more than a short one (Yu et al. 2025, DAPO, equation 8). "response": 1 over the
    response's number of tokens, so every response weighs 1 (Shao et al. 2024, DeepSeekMath, equation 3). The sum of the
    weights over the global batch is the normalizer of the mean that each stands for.
    """
    weights = mask.float()
    if aggregation == "response":
        weights = weights / mask.sum(1, keepdim=True).clamp(min=1)
    return weights
