"""Learning scores from comparisons and rankings: Bradley-Terry, all pairs of a ranking, Plackett-Luce.

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


def pairwise_ranking_loss(scores: Tensor, ranks: Tensor, groups: Tensor, *, normalizer: float) -> LossOutput:
    """Bradley-Terry over all pairs of each prompt's ranking, averaged within the prompt: every prompt weighs 1.

    Pairs of equal rank are dropped, from the average too, so it divides by K(K - 1)/2 when a ranking of K has no ties.
    A prompt without a pair adds 0.

    Shapes: `scores`, `ranks`, `groups` `[R]`; a lower rank is better; responses to one prompt share a group number.
    `normalizer`: the number of prompts in the global batch. Source: Ouyang et al. 2022 (InstructGPT), equation 1 and
    appendix C.2.
    """
    winners, losers, weights = _ranked_pairs(scores, ranks, groups)
    return bradley_terry_loss(scores[winners], scores[losers], weights=weights, normalizer=normalizer)


def plackett_luce_loss(scores: Tensor, ranks: Tensor, groups: Tensor, *, normalizer: float) -> LossOutput:
    """-log of the probability of each prompt's ranking, when places are filled from the top by softmax choice.

    A response is chosen from itself and all that rank below it: ties say nothing about each other, and a ranking that
    names only the best of K is a K-way softmax. Two responses make this Bradley-Terry.

    Shapes and `normalizer` as in `pairwise_ranking_loss`. Source: Plackett 1975; Luce 1959.
    """
    winners, losers, weights = _ranked_pairs(scores, ranks, groups)
    below = (groups[:, None] == groups) & (ranks[:, None] < ranks)
    choices = below | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    candidates = scores.expand(choices.shape).masked_fill(~choices, -torch.inf)
    total = (candidates.logsumexp(1) - scores).sum()
    num_prompts = torch.unique(groups).numel()
    metrics: Metrics = {"reward_model/loss": (total.detach(), num_prompts)}
    difference = scores[winners] - scores[losers]
    return LossOutput(share(total, normalizer), metrics | _agreement(difference, torch.ones_like(weights), weights))


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
