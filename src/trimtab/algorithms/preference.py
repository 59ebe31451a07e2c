"""Learning scores from comparisons and rankings: Bradley-Terry and Plackett-Luce.

Scores are raw numbers, one a response; only their differences matter unless centring is on. Metrics of every loss here:
reward_model/loss; reward_model/accuracy, the share of comparisons the scores order as the label does, equal scores
counting one half and labels of exactly 1/2 left out; reward_model/margin, the mean score difference in favour of the
label. They weigh comparisons as the loss does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trimtab.algorithms.group import group_index
from trimtab.algorithms.output import LossOutput, Metrics, share
from trimtab.algorithms.shapes import require_same_shape

MOST_TIED = 10
"""Responses that may be tied above others in `plackett_luce_loss`."""


def bradley_terry_loss(
    chosen_scores: Tensor,
    rejected_scores: Tensor,
    *,
    probability: Tensor | None = None,
    margin: Tensor | None = None,
    weights: Tensor | None = None,
    centering: float = 0.0,
    normalizer: float,
) -> LossOutput:
    """-p log sigmoid(d - m) - (1 - p) log sigmoid(m - d) with d = chosen - rejected; plus a pull of both towards 0.

    `probability` p is that of chosen being the better one (default 1): soft labels, Bai et al. 2022 (Constitutional
    AI), section 4.1. `margin` m is signed, in favour of chosen (default 0): Touvron et al. 2023 (Llama 2), equation 2.
    `centering` is the coefficient of (chosen + rejected)^2: Eisenstein et al. 2023, equation 2. Exchanging the two
    responses with p -> 1 - p and m -> -m changes nothing.

    Shapes: all tensors `[N]`, N comparisons. `normalizer`: the sum of weights in the global batch (default weight 1).
    """
    p = torch.ones_like(chosen_scores) if probability is None else probability
    m = torch.zeros_like(chosen_scores) if margin is None else margin
    w = torch.ones_like(chosen_scores) if weights is None else weights
    require_same_shape(chosen_scores=chosen_scores, rejected_scores=rejected_scores, probability=p, margin=m, weights=w)
    surplus = chosen_scores - rejected_scores - m
    losses = -p * logsigmoid(surplus) - (1 - p) * logsigmoid(-surplus)
    losses = losses + centering * (chosen_scores + rejected_scores) ** 2
    total = (w * losses).sum()
    metrics: Metrics = {"reward_model/loss": (total.detach(), w.sum())}
    return LossOutput(share(total, normalizer), metrics | _agreement(chosen_scores - rejected_scores, p, w))


def plackett_luce_loss(
    scores: Tensor, ranks: Tensor, groups: Tensor, *, weights: Tensor | None = None, normalizer: float
) -> LossOutput:
    """-log of the probability of each ranking, when places are filled from the top by softmax choice among the rest.

    A tie is an order that was not told: its probability is the sum over all orders of the tied responses, so ties say
    nothing about each other, a ranking that names only the best of K is a K-way softmax, and two responses make this
    Bradley-Terry. A tie of k above others takes 2^k steps.

    Shapes: `scores`, `ranks`, `groups` `[R]`; a lower rank is better; responses of one ranking share a group number.
    `weights` `[R]` (default 1) are those of the rankings, the same for all responses of one. `normalizer`: the sum of
    the rankings' weights in the global batch. Raises `ValueError` for more than `MOST_TIED` tied above others. Sources:
    Luce 1959; Plackett 1975; ties: Allison and Christakis 1994, the marginal likelihood of Kalbfleisch and Prentice
    1973.
    """
    w = torch.ones_like(scores) if weights is None else weights
    winners, losers, pair_weights = _ranked_pairs(scores, ranks, groups)
    require_same_shape(scores=scores, weights=w)
    total, count = scores[:0].sum(), 0.0
    for group in groups.unique().tolist():
        of_group = groups == group
        weight = w[of_group][0]
        count += weight.item()
        for rank in ranks[of_group].unique()[:-1].tolist():
            tier, below = scores[of_group & (ranks == rank)], scores[of_group & (ranks > rank)]
            total = total - weight * _log_probability_before(tier, below)
    metrics: Metrics = {"reward_model/loss": (total.detach(), count)}
    difference, pair_weights = scores[winners] - scores[losers], pair_weights * w[winners]
    return LossOutput(
        share(total, normalizer), metrics | _agreement(difference, torch.ones_like(difference), pair_weights)
    )


def _log_probability_before(tier: Tensor, below: Tensor) -> Tensor:
    """log P(all of `tier` `[k]` are chosen before any of `below` `[n]`), summed over the orders within the tier.

    Bit i of `left` says that response i of the tier is still to be chosen. Whichever is next leaves a smaller set.
    """
    if len(tier) > MOST_TIED:
        raise ValueError(f"a tie of {len(tier)} responses above others; at most {MOST_TIED} can be summed over")
    rest = below.logsumexp(0)
    found = [torch.zeros_like(rest)]
    for left in range(1, 2 ** len(tier)):
        members = [i for i in range(len(tier)) if left >> i & 1]
        orders = torch.stack([tier[i] + found[left ^ (1 << i)] for i in members]).logsumexp(0)
        found.append(orders - torch.logaddexp(tier[members].logsumexp(0), rest))
    return found[-1]


def _ranked_pairs(scores: Tensor, ranks: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Every (better, worse) pair within a group, as indices, and weights that sum to 1 in each group with a pair."""
    require_same_shape(scores=scores, ranks=ranks, groups=groups)
    winners, losers = ((groups[:, None] == groups) & (ranks[:, None] < ranks)).nonzero(as_tuple=True)
    index, _ = group_index(scores, groups)
    group = index[winners]
    pairs_in_group = torch.bincount(group)[group]
    return winners, losers, pairs_in_group.to(scores.dtype).reciprocal()


def _agreement(difference: Tensor, p: Tensor, w: Tensor) -> Metrics:
    """Accuracy and margin of score differences `[N]` against the side that the label favours."""
    favoured = difference.detach() * torch.sign(2 * p - 1)
    decided = w * (p != 0.5)
    right = (favoured > 0).to(w.dtype) + 0.5 * (favoured == 0).to(w.dtype)
    return {
        "reward_model/accuracy": ((decided * right).sum(), decided.sum()),
        "reward_model/margin": ((decided * favoured).sum(), decided.sum()),
    }
