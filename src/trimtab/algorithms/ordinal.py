"""Learning scores from grades: which grades are higher is known, how far apart they lie is learnt."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trimtab.algorithms.output import LossOutput, Metrics, share
from trimtab.algorithms.shapes import require_same_shape


def cumulative_logit_loss(
    scores: Tensor, levels: Tensor, thresholds: Tensor, *, weights: Tensor | None = None, normalizer: float
) -> LossOutput:
    """-log P(level k), where P(level <= k) = sigmoid(thresholds[k] - score): proportional odds.

    Computed as -log sigmoid(b) - log sigmoid(-a) - log(1 - e^(a - b)) with a, b the thresholds below and above less the
    score, which is sigmoid(b) - sigmoid(a) and loses nothing far from the thresholds; the lowest level has no a, the
    highest no b.

    Shapes: `scores`, `levels` (integers from 0) and `weights` (default 1) `[N]`, one a grade; `thresholds` `[K - 1]`,
    rising, for K levels. `normalizer`: the sum of weights in the global batch. Metrics: reward_model/loss;
    reward_model/grade_error, the mean distance in levels between a grade and the one its score lies in. Source:
    McCullagh 1980, "Regression models for ordinal data", section 2.
    """
    w = torch.ones_like(scores) if weights is None else weights
    require_same_shape(scores=scores, levels=levels, weights=w)
    has_above, has_below = levels < len(thresholds), levels > 0
    above = thresholds[levels.clamp(max=len(thresholds) - 1)]
    below = thresholds[(levels - 1).clamp(min=0)]
    gaps = torch.where(has_above & has_below, above - below, torch.inf)
    losses = -torch.where(has_above, logsigmoid(above - scores), 0.0)
    losses = losses - torch.where(has_below, logsigmoid(scores - below), 0.0)
    losses = losses - torch.log(-torch.expm1(-gaps))
    total = (w * losses).sum()
    found = (scores.detach()[:, None] > thresholds.detach()).sum(1)
    metrics: Metrics = {
        "reward_model/loss": (total.detach(), w.sum()),
        "reward_model/grade_error": ((w * (found - levels).abs()).sum(), w.sum()),
    }
    return LossOutput(share(total, normalizer), metrics)
