"""Supervised fine-tuning: the negative log-likelihood of response tokens."""

from __future__ import annotations

from torch import Tensor

from trimtab.algorithms.masked import masked_sum
from trimtab.algorithms.output import LossOutput, over_tokens, share


def sft_loss(logprobs: Tensor, mask: Tensor, *, normalizer: float) -> LossOutput:
    """-sum of log-probabilities of response tokens, divided by the tokens of the global batch.

    Shapes: `logprobs`, `mask` `[R, T]`. Units: nats a token. Metrics: sft/loss.
    """
    return LossOutput(share(-masked_sum(logprobs, mask), normalizer), {"sft/loss": over_tokens(-logprobs, mask)})
