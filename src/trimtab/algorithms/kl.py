"""KL(policy || reference), estimated token by token from tokens the policy drew; and a coefficient that adapts to it.

With r = p_reference(token) / p_policy(token) and the token drawn from the policy, each estimator's mean is, or is near,
E_policy[log p_policy - log p_reference]. Source: Schulman 2020, "Approximating KL divergence".
Shapes: `logprobs`, `ref_logprobs` and result equal. Units: nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trimtab.algorithms.masked import masked_sum
from trimtab.algorithms.output import LossOutput, over_tokens, share
from trimtab.algorithms.shapes import require_same_shape

_MAX_ERROR = 0.2


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """-log r: unbiased, may be negative, the noisiest. The one RLHF's rewards are shaped with."""
    require_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs)
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """(log r)^2 / 2: never negative, biased, though little while policy and reference are close."""
    return 0.5 * k1(logprobs, ref_logprobs) ** 2


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """r - 1 - log r: never negative, and unbiased."""
    log_ratio = -k1(logprobs, ref_logprobs)
    return torch.expm1(log_ratio) - log_ratio


def kl_loss(
    logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, weights: Tensor | None = None, normalizer: float
) -> LossOutput:
    """Sum over tokens of w k3, over the normalizer: KL as a term of the loss, through which gradients flow.

    Shapes: all `[R, T]`; `weights` w (default 1) and `normalizer` as in the policy loss beside it. Metrics: kl/loss,
    the plain mean of k3, nats a token. Source: Shao et al. 2024 (GRPO), equations 3 and 4.
    """
    w = torch.ones_like(logprobs) if weights is None else weights
    require_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask, weights=w)
    estimates = k3(torch.where(mask, logprobs, 0.0), torch.where(mask, ref_logprobs, 0.0))
    return LossOutput(share(masked_sum(w * estimates, mask), normalizer), {"kl/loss": over_tokens(estimates, mask)})


def adapt_kl_coef(kl_coef: float, kl: float, *, target: float, horizon: float, num_steps: int) -> float:
    """The next KL coefficient: larger after a KL above `target`, smaller after one below.

    The coefficient is all the state there is: save that number and the controller is saved. A fixed coefficient is this
    function never called.

    Units: `kl` and `target` are nats a response; `num_steps` counts the responses since the last call, in the unit of
    `horizon`. The relative error is clipped to +-0.2. Source: Ziegler et al. 2019, section 2.2.
    Errors: `ValueError` unless `target` is positive and the horizon so long that the coefficient stays positive.
    """
    if not (target > 0 and horizon > _MAX_ERROR * num_steps):
        raise ValueError(
            f"a KL controller needs target > 0 (it is {target}) and horizon > {_MAX_ERROR} * num_steps "
            f"(it is {horizon}, with num_steps {num_steps})"
        )
    error = min(max(kl / target - 1.0, -_MAX_ERROR), _MAX_ERROR)
    return kl_coef * (1.0 + error * num_steps / horizon)
