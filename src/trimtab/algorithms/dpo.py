"""Direct preference optimisation: a policy learns from comparisons as if it were its own reward model.

The policy that maximises reward less `beta` times its KL from the reference satisfies
reward(response) = beta log(p_policy / p_reference)(response) + a number of the prompt's alone, which comparisons do not
see (Rafailov et al. 2023, equation 5). So Bradley-Terry on these implicit rewards trains the policy itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.algorithms.masked import masked_sum
from trimtab.algorithms.output import LossOutput
from trimtab.algorithms.preference import bradley_terry_loss
from trimtab.algorithms.shapes import require_same_shape


def implicit_rewards(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """beta times the log-ratio of policy and reference, summed over a response's tokens: `[R, T]` to `[R]`.

    Units: those of a reward, when `beta` is its price of a nat. Source: Rafailov et al. 2023, equation 5.
    """
    require_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask)
    return beta * masked_sum(logprobs - ref_logprobs, mask, dim=1)


def dpo_loss(
    chosen_rewards: Tensor, rejected_rewards: Tensor, *, probability: Tensor | None = None, normalizer: float
) -> LossOutput:
    """-p log sigmoid(d) - (1 - p) log sigmoid(-d), d = chosen - rejected in implicit rewards; per comparison.

    `probability` p is that of chosen being the better one (default 1); one below 1 is the label smoothing of
    conservative DPO (Mitchell 2023).

    Shapes: all `[N]`, N comparisons. `normalizer`: the number of comparisons in the global batch. Metrics: dpo/loss;
    dpo/accuracy and dpo/margin as those of a reward model; dpo/chosen_reward, dpo/rejected_reward. Source: Rafailov et
    al. 2023, equation 7.
    """
    output = bradley_terry_loss(chosen_rewards, rejected_rewards, probability=probability, normalizer=normalizer)
    metrics = {name.replace("reward_model/", "dpo/"): metric for name, metric in output.metrics.items()}
    count = torch.tensor(float(len(chosen_rewards)))
    metrics["dpo/chosen_reward"] = (chosen_rewards.detach().sum(), count)
    metrics["dpo/rejected_reward"] = (rejected_rewards.detach().sum(), count)
    return LossOutput(output.loss, metrics)
