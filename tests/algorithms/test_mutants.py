"""The checks themselves, checked: each of these deliberate bugs makes one fail.

A mutant is the function's own module with one piece of its source replaced, written "old => new". When the old text is
not there any more, the mutant is out of date and its test says so.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from trimtab.algorithms.aggregation import token_weights
from trimtab.algorithms.dpo import dpo_loss, implicit_rewards
from trimtab.algorithms.group import group_relative_advantages, leave_one_out_advantages
from trimtab.algorithms.importance import logprob_gap, truncated_importance_weights
from trimtab.algorithms.kl import k1, k3, kl_loss
from trimtab.algorithms.logprobs import entropy, token_logprobs
from trimtab.algorithms.masked import masked_sum, whiten
from trimtab.algorithms.ordinal import cumulative_logit_loss
from trimtab.algorithms.ppo import clipped_policy_loss, clipped_value_loss, gae, kl_shaped_rewards
from trimtab.algorithms.preference import bradley_terry_loss, plackett_luce_loss
from trimtab.algorithms.sft import sft_loss

from .test_dpo import check_dpo, check_implicit_rewards, check_start
from .test_dpo import check_swap as check_dpo_swap
from .test_group import check_group_relative, check_leave_one_out
from .test_grpo import (
    check_gap,
    check_importance,
    check_kl_loss,
    check_objective,
    check_token_weights,
    check_weighted_policy_loss,
)
from .test_grpo import check_unbiased as check_expectations
from .test_kl import check_unbiased
from .test_logprobs import check_entropy, check_logprobs
from .test_masked import check_sum, check_whitened_moments, check_whitening
from .test_ordinal import check_grades
from .test_ppo import check_advantages, check_policy_loss, check_reinforce, check_rewards, check_value_loss
from .test_preference import check_agreement, check_bradley_terry, check_ranking, check_ranking_weights, check_swap
from .test_token_losses import check_cut, check_padding


def cut(loss_of: Callable) -> None:
    check_cut(loss_of, 1)


def padding(loss_of: Callable) -> None:
    check_padding(loss_of, 1)


def response_weights(function: Callable) -> None:
    check_objective("response", weights_of=function)


def token_objective(loss_of: Callable) -> None:
    check_objective("token", policy_loss_of=loss_of)


def penalised_objective(loss_of: Callable) -> None:
    check_objective("response", kl_loss_of=loss_of)


REAL_K3 = "k3(torch.where(mask, logprobs, 0.0), torch.where(mask, ref_logprobs, 0.0))"
SWAPPED_K3 = "k3(torch.where(mask, ref_logprobs, 0.0), torch.where(mask, logprobs, 0.0))"
GAP = "logprobs - sampler_logprobs"
ALL_ORDERS, FIRST_ORDER = "for i in members]).logsumexp(0)", "for i in members]).select(0, 0)"
ALL_LEFT, RESPONSE_LEFT = "torch.logaddexp(tier[members].logsumexp(0), rest)", "torch.logaddexp(tier[members[0]], rest)"
SUM_OF_RATIOS = "masked_sum(logprobs - ref_logprobs, mask, dim=1)"

MUTANTS = [
    (masked_sum, check_sum, "mask dropped", "torch.where(mask, x, 0.0).sum(dim) => x.sum(dim)"),
    (whiten, check_whitening, "not centred", "(real - mean) * torch.rsqrt => real * torch.rsqrt"),
    (whiten, check_whitened_moments, "flag turned round", "if shift_mean else => if not shift_mean else"),
    (whiten, check_whitened_moments, "sum of squares", "masked_mean((real => masked_sum((real"),
    (token_logprobs, check_logprobs, "temperature forgotten", ", temperature, False) => , 1.0, False)"),
    (token_logprobs, check_logprobs, "temperature multiplied", "logits / temperature\n => logits * temperature\n"),
    (token_logprobs, check_logprobs, "temperature not in gradient", "grad[rows] / ctx.temperature => grad[rows]"),
    (entropy, check_entropy, "temperature forgotten", "_scaled(chunk, temperature) => _scaled(chunk, 1.0)"),
    (k1, check_unbiased, "other direction", "return logprobs - ref_logprobs => return ref_logprobs - logprobs"),
    (k3, check_unbiased, "other direction", "log_ratio = -k1( => log_ratio = k1("),
    (sft_loss, cut, "normalised by micro-batch", "mask), normalizer) => mask), int(mask.sum()))"),
    (sft_loss, padding, "mask dropped", "-masked_sum(logprobs, mask) => -logprobs.sum()"),
    (kl_shaped_rewards, check_rewards, "penalty as a bonus", "-kl_coef * ( => kl_coef * ("),
    (kl_shaped_rewards, check_rewards, "score on first token", "mask.flip(1).cumsum(1).flip(1) => mask.cumsum(1)"),
    (kl_shaped_rewards, check_rewards, "score one token early", ".flip(1) == 1 => .flip(1) == 2"),
    (kl_shaped_rewards, check_rewards, "score on every token", "torch.where(is_last, => torch.where(mask,"),
    (gae, check_advantages, "value read from padding", "torch.where(real, value, 0.0) => value"),
    (gae, check_advantages, "lambda forgotten", "gae_lambda * advantage, => advantage,"),
    (gae, check_advantages, "discount forgotten", "gamma * next_value => next_value"),
    (clipped_policy_loss, check_policy_loss, "min for max", "w * torch.maximum => w * torch.minimum"),
    (clipped_policy_loss, check_policy_loss, "clip dropped", ".clamp(1 - clip_eps, 1 + clip_eps) => "),
    (clipped_policy_loss, check_reinforce, "ratio inverted", "(logprobs - old_logprobs) => (old_logprobs - logprobs)"),
    (clipped_value_loss, check_value_loss, "min for max", "0.5 * torch.maximum => 0.5 * torch.minimum"),
    (clipped_value_loss, check_value_loss, "half forgotten", "0.5 * torch.maximum => torch.maximum"),
    (clipped_value_loss, check_value_loss, "clip around the return", "(old_values + ( => (returns + ("),
    (bradley_terry_loss, check_swap, "label ignored", "(1 - p) * logsigmoid => 0 * logsigmoid"),
    (bradley_terry_loss, check_bradley_terry, "margin added", "rejected_scores - m\n => rejected_scores + m\n"),
    (bradley_terry_loss, check_bradley_terry, "centring on difference", "+ rejected_scores) => - rejected_scores)"),
    (plackett_luce_loss, check_agreement, "ties compared", "< ranks)).nonzero => <= ranks)).nonzero"),
    (plackett_luce_loss, check_agreement, "prompts mixed", "losers = ((groups[:, None] == groups) & => losers = ("),
    (plackett_luce_loss, check_agreement, "pairs weigh 1", ".reciprocal() => ** 0"),
    (plackett_luce_loss, check_ranking, "choice from above", "(ranks > rank)] => (ranks < rank)]"),
    (plackett_luce_loss, check_ranking, "last tier against nothing", "unique()[:-1] => unique()[1:]"),
    (plackett_luce_loss, check_ranking, "prompts mixed", "scores[of_group & (ranks > rank)] => scores[ranks > rank]"),
    (plackett_luce_loss, check_ranking, "one order of a tie", f"{ALL_ORDERS} => {FIRST_ORDER}"),
    (plackett_luce_loss, check_ranking, "the tied do not compete", f"{ALL_LEFT} => {RESPONSE_LEFT}"),
    (plackett_luce_loss, check_ranking_weights, "weights forgotten", "total - weight * => total -"),
    (
        cumulative_logit_loss,
        check_grades,
        "threshold above for below",
        "(levels - 1).clamp(min=0) => levels.clamp(max=2)",
    ),
    (cumulative_logit_loss, check_grades, "gap forgotten", "-torch.expm1(-gaps) => torch.ones_like(gaps)"),
    (cumulative_logit_loss, check_grades, "turned", "logsigmoid(above - scores) => logsigmoid(scores - above)"),
    (cumulative_logit_loss, check_grades, "weights forgotten", "(w * losses).sum() => losses.sum()"),
    (cumulative_logit_loss, check_grades, "lowest has one below", "levels > 0\n => levels >= 0\n"),
    (leave_one_out_advantages, check_leave_one_out, "over all", "(counts[index] - 1) => counts[index]"),
    (group_relative_advantages, check_group_relative, "by the variance", "variance.sqrt()[index] => variance[index]"),
    (group_relative_advantages, check_group_relative, "centred over all", "counts)[index]\n => counts).mean()\n"),
    (implicit_rewards, check_implicit_rewards, "beta forgotten", "beta * masked_sum => masked_sum"),
    (implicit_rewards, check_implicit_rewards, "mean over tokens", f"{SUM_OF_RATIOS} => {SUM_OF_RATIOS} / mask.sum(1)"),
    (implicit_rewards, check_start, "reference forgotten", "logprobs - ref_logprobs, mask => logprobs, mask"),
    (implicit_rewards, check_implicit_rewards, "turned", "logprobs - ref_logprobs, => ref_logprobs - logprobs,"),
    (dpo_loss, check_dpo, "exchanged", "(chosen_rewards, rejected_rewards, p => (rejected_rewards, chosen_rewards, p"),
    (dpo_loss, check_dpo, "label ignored", "probability=probability, => probability=None,"),
    (dpo_loss, check_dpo_swap, "label ignored", "probability=probability, => probability=None,"),
    (token_weights, response_weights, "every token alike", 'aggregation == "response" => aggregation == "none"'),
    (token_weights, check_token_weights, "every token alike", 'aggregation == "response" => aggregation == "none"'),
    (token_weights, response_weights, "padding is length", "mask.sum(1, keepdim=True).clamp(min=1) => mask.shape[1]"),
    (token_weights, check_token_weights, "padding weighs", "weights = mask.float() => weights = mask.float() + 1"),
    (kl_loss, penalised_objective, "a bonus", "share(masked_sum(w * => share(-masked_sum(w *"),
    (kl_loss, check_kl_loss, "other direction", f"{REAL_K3} => {SWAPPED_K3}"),
    (kl_loss, penalised_objective, "other direction", f"{REAL_K3} => {SWAPPED_K3}"),
    (kl_loss, check_kl_loss, "weights forgotten", "masked_sum(w * => masked_sum("),
    (kl_loss, penalised_objective, "weights forgotten", "masked_sum(w * => masked_sum("),
    (clipped_policy_loss, token_objective, "weights forgotten", "masked_sum(w * torch => masked_sum(torch"),
    (clipped_policy_loss, check_weighted_policy_loss, "tokens counted", "masked_sum(w, mask)) => mask.sum())"),
    (truncated_importance_weights, check_importance, "cap forgotten", ".clamp(max=cap) => "),
    (truncated_importance_weights, check_expectations, "cap forgotten", ".clamp(max=cap) => "),
    (truncated_importance_weights, check_importance, "a floor", ".clamp(max=cap) => .clamp(min=cap)"),
    (truncated_importance_weights, check_expectations, "inverted", f"({GAP}).exp() => (-({GAP})).exp()"),
    (truncated_importance_weights, check_importance, "not exponentiated", f"({GAP}).exp() => ({GAP})"),
    (
        truncated_importance_weights,
        check_importance,
        "mask dropped",
        "where(mask, (logprobs => where(mask == mask, (logprobs",
    ),
    (logprob_gap, check_gap, "sign kept", ".abs() => "),
    (logprob_gap, check_gap, "padding counted", f"masked_mean(({GAP}).abs(), mask) => ({GAP}).abs().mean()"),
]


@pytest.mark.parametrize(
    ("function", "check", "change"),
    [(function, check, change) for function, check, _, change in MUTANTS],
    ids=[f"{function.__name__}: {what}" for function, _, what, _ in MUTANTS],
)
def test_a_check_rejects_the_mutant(function: Callable, check: Callable[[Callable], None], change: str) -> None:
    mutated = mutant(function, change)
    check(function)
    with pytest.raises(AssertionError):
        check(mutated)


def mutant(function: Callable, change: str) -> Callable:
    """The function as its module would define it with one piece of source replaced."""
    old, new = change.split(" => ")
    module = sys.modules[function.__module__]
    source = inspect.getsource(module)
    assert source.count(old) == 1, (
        f"{module.__name__} holds {old!r} {source.count(old)} times, and a mutant replaces one"
    )
    changed = ModuleType(module.__name__)
    exec(compile(source.replace(old, new), f"<mutant of {module.__file__}>", "exec"), changed.__dict__)
    return getattr(changed, function.__name__)
