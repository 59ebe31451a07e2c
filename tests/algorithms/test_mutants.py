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
from tests.reference import preference as reference

from trimtab.algorithms.group import group_relative_advantages, leave_one_out_advantages
from trimtab.algorithms.kl import k1, k3
from trimtab.algorithms.logprobs import entropy, token_logprobs
from trimtab.algorithms.masked import masked_sum, whiten
from trimtab.algorithms.ppo import clipped_policy_loss, clipped_value_loss, gae, kl_shaped_rewards
from trimtab.algorithms.preference import bradley_terry_loss, pairwise_ranking_loss, plackett_luce_loss
from trimtab.algorithms.sft import sft_loss

from .test_group import check_group_relative, check_leave_one_out
from .test_kl import check_unbiased
from .test_logprobs import check_entropy, check_logprobs
from .test_masked import check_sum, check_whitened_moments, check_whitening
from .test_ppo import check_advantages, check_policy_loss, check_reinforce, check_rewards, check_value_loss
from .test_preference import check_bradley_terry, check_ranking, check_swap
from .test_token_losses import check_cut, check_padding


def all_pairs(loss_of: Callable) -> None:
    check_ranking(loss_of, reference.all_pairs)


def plackett_luce(loss_of: Callable) -> None:
    check_ranking(loss_of, reference.plackett_luce)


def cut(loss_of: Callable) -> None:
    check_cut(loss_of, 1)


def padding(loss_of: Callable) -> None:
    check_padding(loss_of, 1)


MUTANTS = [
    (masked_sum, check_sum, "mask dropped", "torch.where(mask, x, 0.0).sum(dim) => x.sum(dim)"),
    (whiten, check_whitening, "not centred", "(real - mean) * torch.rsqrt => real * torch.rsqrt"),
    (whiten, check_whitened_moments, "flag turned round", "if shift_mean else => if not shift_mean else"),
    (whiten, check_whitened_moments, "sum of squares", "masked_mean((real => masked_sum((real"),
    (token_logprobs, check_logprobs, "temperature forgotten", "reshape(-1), temperature) => reshape(-1), 1.0)"),
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
    (clipped_policy_loss, check_policy_loss, "min for max", " = torch.maximum => = torch.minimum"),
    (clipped_policy_loss, check_policy_loss, "clip dropped", ".clamp(1 - clip_eps, 1 + clip_eps) => "),
    (clipped_policy_loss, check_reinforce, "ratio inverted", "(logprobs - old_logprobs) => (old_logprobs - logprobs)"),
    (clipped_value_loss, check_value_loss, "min for max", "0.5 * torch.maximum => 0.5 * torch.minimum"),
    (clipped_value_loss, check_value_loss, "half forgotten", "0.5 * torch.maximum => torch.maximum"),
    (clipped_value_loss, check_value_loss, "clip around the return", "(old_values + ( => (returns + ("),
    (bradley_terry_loss, check_swap, "label ignored", "(1 - p) * logsigmoid => 0 * logsigmoid"),
    (bradley_terry_loss, check_bradley_terry, "margin added", "rejected_scores - m\n => rejected_scores + m\n"),
    (bradley_terry_loss, check_bradley_terry, "centring on difference", "+ rejected_scores) => - rejected_scores)"),
    (pairwise_ranking_loss, all_pairs, "ties compared", "< ranks)).nonzero => <= ranks)).nonzero"),
    (pairwise_ranking_loss, all_pairs, "prompts mixed", "losers = ((groups[:, None] == groups) & => losers = ("),
    (pairwise_ranking_loss, all_pairs, "pairs weigh 1", ".reciprocal() => ** 0"),
    (plackett_luce_loss, plackett_luce, "choice from above", "< ranks)\n => > ranks)\n"),
    (leave_one_out_advantages, check_leave_one_out, "over all", "(counts[index] - 1) => counts[index]"),
    (group_relative_advantages, check_group_relative, "by the variance", "variance.sqrt()[index] => variance[index]"),
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
