"""The tests of models and loops, tested: each of these deliberate bugs makes one of them fail.

A mutant is a function whose source has one piece replaced, written "old => new". It takes the place of the function's
code, so that everyone who calls the function gets it. When the old text is not there any more, the mutant is out of
date and its test says so. Mutants of the pure functions are in `tests/algorithms/test_mutants.py`.
"""

from __future__ import annotations

import inspect
import operator
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tests.models import test_policy, test_reference, test_scalar_model, test_trunk
from tests.training import (
    loops,
    test_dpo,
    test_grades,
    test_grpo_loop,
    test_ppo_loop,
    test_rankings,
    test_reward_model,
    test_rollout,
    test_sft,
    test_step,
)

Check = Callable[[Path], None]
"""A test that passes, given a folder to write in."""


# Models
def policy_values(_: Path) -> None:
    test_policy.test_log_probabilities_and_entropies_equal_plain_forwards("llama", 0.6)


def saved_policy(folder: Path) -> None:
    test_policy.test_a_saved_policy_generates_in_transformers_and_stops_where_its_template_does(folder, "llama3")


def plain_form(folder: Path) -> None:
    test_policy.test_the_plain_form_is_saved_as_a_chat_template(folder, adds_bos=True)


def soft_cap(_: Path) -> None:
    test_policy.test_what_a_family_does_to_logits_after_the_head_is_done("gemma3")


def scalar_values(_: Path) -> None:
    test_scalar_model.test_scores_and_values_are_read_where_they_should("llama", None)


def normalised(_: Path) -> None:
    test_scalar_model.test_normalised_scores_have_mean_0_and_deviation_1()


def two_graphs(_: Path) -> None:
    test_trunk.test_a_graph_is_differentiated_whatever_adapter_is_active(None)


def adapter_dropout(_: Path) -> None:
    test_trunk.test_inputs_are_dropped_only_while_learning()


def adapter_copy(_: Path) -> None:
    test_trunk.test_a_copy_starts_equal_and_learns_for_itself()


def mapped_reference(folder: Path) -> None:
    test_reference.test_with_all_weights_the_reference_stays_where_the_policy_was(folder, "llama")


def adapter_reference(folder: Path) -> None:
    test_reference.test_with_an_adapter_the_reference_is_the_model_without_it(folder, "llama")


# Steps and rollouts
def rollout(folder: Path) -> None:
    test_rollout.test_every_tensor_lines_up(folder, adapter=True, max_tokens=loops.SMALL)


def order_of_rows(_: Path) -> None:
    test_rollout.test_results_come_back_in_the_order_of_the_rows(100)


def rates(_: Path) -> None:
    test_step.test_learning_rates_by_hand("linear", [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def hand_made_step(_: Path) -> None:
    test_step.test_a_step_by_hand()


def added_up(folder: Path) -> None:
    test_step.test_gradients_and_metrics_add_up_over_micro_batches(folder, 6)


def bad_loss(folder: Path) -> None:
    test_step.test_a_loss_that_is_not_finite_stops_and_shows_its_rows(folder)


# Loops
def sft_loss(folder: Path) -> None:
    test_sft.test_the_first_loss_is_the_mean_over_response_tokens(folder)


def sft_cut(folder: Path) -> None:
    test_sft.test_cutting_a_batch_changes_no_gradient(folder, adapter=False)


def sft_resume(folder: Path) -> None:
    loops.check_resume(test_sft.lora, folder, stops=[2])


def preference_layout(_: Path) -> None:
    test_reward_model.test_all_comparisons_of_a_prompt_are_one_row()


def preference_weights(folder: Path) -> None:
    test_reward_model.test_every_prompt_weighs_one(folder)


def preference_cut(folder: Path) -> None:
    test_reward_model.test_cutting_a_batch_changes_no_gradient(folder)


def soft_labels(folder: Path) -> None:
    test_reward_model.test_shares_are_learnt_as_odds_ties_as_equal_and_margins_are_added(folder)


def ranking_weights(folder: Path) -> None:
    test_rankings.check_weights(folder)


def ranking_cut(folder: Path) -> None:
    test_rankings.check_cut(folder)


def grade_weights(folder: Path) -> None:
    test_grades.check_weights(folder)


def grade_learning(folder: Path) -> None:
    test_grades.check_learning(folder)


def preference_resume(folder: Path) -> None:
    loops.check_resume(test_reward_model.lora, folder, stops=[2])


def estimates(folder: Path) -> None:
    test_ppo_loop.check_estimate(folder, whiten_rewards=False, whiten_advantages=True)


def whitened_rewards(folder: Path) -> None:
    test_ppo_loop.check_estimate(folder, whiten_rewards=True, whiten_advantages=False)


def ppo_gradients(folder: Path) -> None:
    test_ppo_loop.check_first_gradients(folder, adapter=False)


def first_step(folder: Path) -> None:
    test_ppo_loop.test_the_first_step_finds_policy_reference_and_engine_agreed(folder)


def warm_up(folder: Path) -> None:
    test_ppo_loop.test_the_policy_waits_until_the_value_model_is_warm(folder, adapter=False)


def kl_controller(folder: Path) -> None:
    test_ppo_loop.test_the_kl_coefficient_follows_the_kl(folder)


def ppo_log(_: Path) -> None:
    test_ppo_loop.test_what_is_logged_of_a_rollout_by_hand()


def groups(_: Path) -> None:
    test_ppo_loop.test_minibatches_keep_groups_together(4, [2, 2, 1])


def ppo_resume(folder: Path) -> None:
    loops.check_resume(test_ppo_loop.full, folder, stops=[2])


def ppo_importance(folder: Path) -> None:
    test_ppo_loop.check_first_gradients(folder, adapter=False, cap=1.3)


def dpo_gradients(folder: Path) -> None:
    test_dpo.check_first_gradients(folder, adapter=False, moved=True)


def dpo_start(folder: Path) -> None:
    test_dpo.check_first_gradients(folder, adapter=False, moved=False)


def dpo_learning(folder: Path) -> None:
    test_dpo.check_learning(folder, adapter=False)


def dpo_lora(folder: Path) -> None:
    test_dpo.check_learning(folder, adapter=True)


def dpo_cut(folder: Path) -> None:
    test_dpo.check_cut(folder, adapter=False)


def dpo_dropout(folder: Path) -> None:
    test_dpo.check_dropout(folder)


def dpo_resume(folder: Path) -> None:
    loops.check_resume(test_dpo.lora, folder, stops=[3])


def grpo_gradients(folder: Path) -> None:
    test_grpo_loop.check_first_gradients(folder, adapter=False, importance_cap=1.3)


def grpo_tokens(folder: Path) -> None:
    test_grpo_loop.check_first_gradients(folder, adapter=False, importance_cap=1.3, aggregation="token")


def grpo_unscaled(folder: Path) -> None:
    test_grpo_loop.check_first_gradients(folder, adapter=False, importance_cap=1.3, advantages="centred")


def grpo_second(folder: Path) -> None:
    test_grpo_loop.check_second_update(folder, adapter=False)


def grpo_cut(folder: Path) -> None:
    test_grpo_loop.check_cut(folder, adapter=False)


def grpo_first_step(folder: Path) -> None:
    test_grpo_loop.check_agreement(folder)


def equal_scores(folder: Path) -> None:
    test_grpo_loop.check_equal_scores(folder)


def no_reference(folder: Path) -> None:
    test_grpo_loop.test_without_kl_the_reference_is_never_asked(folder, test_grpo_loop.ONE_UPDATE)


def stray_engine(folder: Path) -> None:
    test_grpo_loop.check_stray(folder)


def stray_gradients(folder: Path) -> None:
    test_grpo_loop.check_importance(folder)


def grpo_resume(folder: Path) -> None:
    loops.check_resume(test_grpo_loop.full, folder, stops=[2])


PPO, RM, SFT = "trimtab.training.ppo", "trimtab.training.reward_model", "trimtab.training.sft"
POLICY, SCALAR, TRUNK = "trimtab.models.policy", "trimtab.models.scalar_model", "trimtab.models.trunk"
STEP, ROLLOUT, STATE = "trimtab.training.step", "trimtab.training.rollout", "trimtab.training.state"
MINIBATCHES, EXPERIENCE = "trimtab.training.minibatches", "trimtab.training.experience"
CHAT, ENCODING, REFERENCE = "trimtab.data.chat", "trimtab.training.encoding", "trimtab.models.reference"
DPO, GRPO, PASSES = "trimtab.training.dpo", "trimtab.training.grpo", "trimtab.training.passes"
GRADES = "trimtab.training.grades"
FIRST_ONES = "[: len(mask), : mask.shape[1]]"
CHOSEN_FIRST = "pair.chosen for start, pair in pairs]],\n        rewards[[start + pair.rejected"
REJECTED_FIRST = "pair.rejected for start, pair in pairs]],\n        rewards[[start + pair.chosen"
OLD_OVER_SAMPLER, SAMPLER_OVER_OLD = (
    "old_logprobs, sampler_logprobs, mask, cap",
    "sampler_logprobs, old_logprobs, mask, cap",
)
RANK_OF_TIER, RANK_OF_INDEX = "one.responses[index]], rank)", "one.responses[index]], index)"
TOGETHER = "yield PreferenceRow(row, pairs)"
APART = "yield from [PreferenceRow(row, (pair,)) for pair in pairs]"

MUTANTS = [
    # Models
    (POLICY, "Policy.logprobs", policy_values, "temperature forgotten", ", temperature=temperature) => )"),
    (POLICY, "Policy.logprobs", first_step, "temperature forgotten", ", temperature=temperature) => )"),
    (POLICY, "Policy.logprobs_and_entropy", rollout, "untempered", ", temperature=temperature) => )"),
    (POLICY, "_by_chunks", policy_values, "shifted", "targets[batch.mask] => targets[batch.mask].roll(1)"),
    (POLICY, "_by_chunks", sft_loss, "shifted", "targets[batch.mask] => targets[batch.mask].roll(1)"),
    (POLICY, "head_logits", soft_cap, "soft cap forgotten", "torch.tanh(logits / cap) * cap => logits"),
    (POLICY, "Policy.save", saved_policy, "stops at eos alone", "sorted(self.template.stop_ids) => [2]"),
    (CHAT, "ChatTemplate.plain_form", plain_form, "bos forgotten", "if adds_bos(self.tokenizer) => if False"),
    (SCALAR, "ScalarModel.scores", scalar_values, "one token early", "batch.last_token => batch.last_token - 1"),
    (SCALAR, "ScalarModel.values", scalar_values, "after the token", "predicted_from, => predicted_from + 1,"),
    (SCALAR, "ScalarModel.values", scalar_values, "mask dropped", ".masked_fill(~batch.mask, 0.0) => "),
    (SCALAR, "ScalarModel.rescale", normalised, "bias not scaled", "mul_(gain).add_(bias) => add_(bias)"),
    (TRUNK, "Trunk._let_learn", two_graphs, "only the active one", "in self._learning => == self._active"),
    (TRUNK, "Trunk.using", adapter_dropout, "always on", "self._drop_out(train) => self._drop_out(True)"),
    (TRUNK, "Trunk.copy_adapter", adapter_copy, "memory shared", "parameter.data.float().clone() => parameter.data"),
    (TRUNK, "Trunk._written_out_hidden", mapped_reference, "weights ignored", "if not state => if True"),
    (REFERENCE, "_adapter_off", adapter_reference, "adapter on", "using(None) => using(policy.adapter)"),
    (REFERENCE, "_mapped", mapped_reference, "head of today", ", head=head) => )"),
    # Steps and rollouts
    (STEP, "learning_rate", rates, "from zero", "(step + 1) / warmup => step / warmup"),
    (STEP, "update", hand_made_step, "clipping dropped", "max_grad_norm, total) => 1e9, total)"),
    (STEP, "accumulate", bad_loss, "NaN let through", "not torch.isfinite(output.loss) => torch.isinf(output.loss)"),
    (STEP, "accumulate", added_up, "last metrics only", "merge(merged, output.metrics) => dict(output.metrics)"),
    (ROLLOUT, "over_rows", order_of_rows, "order of lengths", "result[places, => result[places.sort().values,"),
    (ROLLOUT, "measure_reference", rollout, "reference untempered", "(batch, temperature) => (batch, 1)"),
    (ROLLOUT, "collect", rollout, "cut off is finished", '== "stop" => == "length"'),
    # Fine-tuning
    (SFT, "train_sft", sft_cut, "normalised by micro-batch", "=num_tokens) => =int(laid.mask.sum()))"),
    (PASSES, "train_in_passes", sft_resume, "dropout not seeded", "torch.manual_seed(mix(seed, step)) => pass"),
    (STATE, "Checkpoint._tensors", sft_resume, "moments not kept", "[parameter].items() => [None].items()"),
    # Reward model
    (ENCODING, "_preference_rows", preference_layout, "pairs of a prompt split", f"{TOGETHER} => {APART}"),
    (ENCODING, "_preference_rows", preference_weights, "pairs of a prompt split", f"{TOGETHER} => {APART}"),
    (RM, "preference_loss", preference_weights, "pairs weigh one", "1 / len(row.pairs) => 1.0"),
    (RM, "preference_loss", preference_weights, "margin forgotten", "[pair.margin for => [0.0 for"),
    (RM, "preference_loss", soft_labels, "labels ignored", "[pair.probability for => [1.0 for"),
    (RM, "preference_loss", soft_labels, "margin forgotten", "[pair.margin for => [0.0 for"),
    (RM, "train_reward_model", preference_cut, "normalised by micro-batch", "laid, len(batch)) => laid, len(chunk))"),
    (RM, "train_reward_model", ranking_cut, "normalised by micro-batch", "laid, len(batch)) => laid, len(chunk))"),
    (RM, "ranking_loss", ranking_weights, "rankings weigh one", "1 / num_rankings => 1.0"),
    (RM, "ranking_loss", ranking_weights, "rankings of a prompt mixed", "before + placed.ranking => before"),
    (RM, "ranking_loss", ranking_weights, "other prompts' responses", "start + placed.response => placed.response"),
    (ENCODING, "_ranked_rows", ranking_weights, "place for rank", f"{RANK_OF_TIER} => {RANK_OF_INDEX}"),
    (GRADES, "grading_loss", grade_weights, "grades weigh one", "* num_grades[grade.response]) => )"),
    (GRADES, "grading_loss", grade_weights, "responses weigh one", "1 / (len(num_grades) * => 1 / ("),
    (GRADES, "grading_loss", grade_weights, "other prompts' responses", "piece.start + grade => grade"),
    (GRADES, "on_grades", grade_learning, "scale stays", "scale.parameters() => {}"),
    (PASSES, "train_in_passes", preference_resume, "normalised again", "if start == 0: => if True:"),
    # PPO
    (EXPERIENCE, "shaped_rewards", estimates, "sign of the KL", "kl_coef=kl_coef) => kl_coef=-kl_coef)"),
    (EXPERIENCE, "estimate", estimates, "not centred", "(advantages, mask) => (advantages, mask, shift_mean=False)"),
    (EXPERIENCE, "shaped_rewards", whitened_rewards, "rewards centred", ", shift_mean=False) => )"),
    (EXPERIENCE, "shaped_rewards", estimates, "the finished pay", "(~rollout.finished) => rollout.finished"),
    (
        MINIBATCHES,
        "over_minibatch",
        ppo_gradients,
        "other responses' numbers",
        "tensor[places, => tensor[: len(places),",
    ),
    (MINIBATCHES, "num_tokens", ppo_gradients, "per response, not per token", "sum(len(response) for => sum(1 for"),
    (PPO, "policy_loss", ppo_gradients, "temperature forgotten", "temperature=s.temperature => temperature=1.0"),
    (PPO, "policy_loss", first_step, "dropout on", "s.temperature) => s.temperature, train=True)"),
    (
        PPO,
        "value_loss",
        ppo_gradients,
        "advantages for returns",
        "cut(experience.returns) => cut(experience.advantages)",
    ),
    (PPO, "train_ppo", warm_up, "no waiting", "range(s.value_warmup_steps, s.num_steps) => range(s.num_steps)"),
    (PPO, "train_ppo", kl_controller, "steps for responses", "num_steps=len(rollout.scores) => num_steps=1"),
    (PPO, "train_ppo", ppo_resume, "coefficient forgotten", 'saved.get("kl_coef", s.kl_coef) => s.kl_coef'),
    (MINIBATCHES, "minibatches", groups, "responses for groups", "minibatch_size // group => minibatch_size"),
    (
        EXPERIENCE,
        "summarise",
        ppo_log,
        "padding counted",
        "masked_mean(experience.entropies, mask) => experience.entropies.mean()",
    ),
    (PPO, "policy_loss", ppo_importance, "importance forgotten", "if s.importance_cap is not None => if False"),
    (PPO, "policy_loss", ppo_importance, "cap forgotten", "cap=s.importance_cap => cap=1e9"),
    (PPO, "policy_loss", ppo_importance, "others' weights", "else cut(weights) => else weights[:len(batch.mask)]"),
    # DPO
    (DPO, "preference_loss", dpo_gradients, "exchanged", f"{CHOSEN_FIRST} => {REJECTED_FIRST}"),
    (DPO, "preference_loss", dpo_start, "exchanged", f"{CHOSEN_FIRST} => {REJECTED_FIRST}"),
    (DPO, "preference_loss", dpo_learning, "exchanged", f"{CHOSEN_FIRST} => {REJECTED_FIRST}"),
    (DPO, "preference_loss", dpo_start, "labels ignored", "[pair.probability for => [1.0 for"),
    (DPO, "preference_loss", dpo_start, "beta forgotten", "beta=beta => beta=1.0"),
    (
        DPO,
        "preference_loss",
        dpo_gradients,
        "reference of now",
        "reference(laid, 1.0) => policy.logprobs(laid).detach()",
    ),
    (DPO, "preference_loss", dpo_cut, "other prompts' responses", "[piece.start for piece => [0 for piece"),
    (DPO, "preference_loss", dpo_cut, "normalised by micro-batch", "normalizer=normalizer => normalizer=len(pairs)"),
    (DPO, "preference_loss", dpo_dropout, "dropout off", ", train=True => "),
    (DPO, "train_dpo", dpo_start, "prompts weigh alike", "sum(len(row.pairs) for row in batch) => len(batch)"),
    (PASSES, "train_in_passes", dpo_resume, "dropout not seeded", "torch.manual_seed(mix(seed, step)) => pass"),
    (REFERENCE, "_mapped", dpo_learning, "weights of today", ", state=decoder) => )"),
    (REFERENCE, "_adapter_off", dpo_lora, "adapter on", "using(None) => using(policy.adapter)"),
    # GRPO
    (GRPO, "compare", grpo_gradients, "not grouped", "rollout.groups) => torch.zeros_like(rollout.groups))"),
    (GRPO, "compare", equal_scores, "not grouped", "rollout.groups) => torch.zeros_like(rollout.groups))"),
    (GRPO, "compare", grpo_unscaled, "scaled always", "ADVANTAGES[s.advantages] => ADVANTAGES['scaled']"),
    (GRPO, "compare", grpo_gradients, "the finished pay", "(~rollout.finished) => rollout.finished"),
    (GRPO, "compare", no_reference, "asked for nothing", "s.kl_coef > 0 => s.kl_coef >= 0"),
    (GRPO, "compare", grpo_second, "never measured", "if not s.is_on_policy => if False"),
    (GRPO, "compare", grpo_second, "old untempered", "policy, temperature=s.temperature => policy, temperature=1.0"),
    (
        GRPO,
        "compare",
        grpo_gradients,
        "reference untempered",
        "reference, temperature=s.temperature => reference, temperature=1",
    ),
    (GRPO, "group_loss", grpo_second, "old is new", "if experience.old_logprobs is None else => if True else"),
    (GRPO, "group_loss", grpo_gradients, "old not detached", "logprobs.detach() if => logprobs if"),
    (GRPO, "group_loss", grpo_gradients, "KL a bonus", "output.loss + s.kl_coef => output.loss - s.kl_coef"),
    (GRPO, "group_loss", grpo_gradients, "coefficient forgotten", "s.kl_coef * kl.loss => kl.loss"),
    (GRPO, "group_loss", grpo_gradients, "KL weighed as well", "weights=token_weight => weights=weights"),
    (
        GRPO,
        "group_loss",
        grpo_gradients,
        "tokens weigh alike",
        "(rollout.mask, s.aggregation) => (rollout.mask, 'token')",
    ),
    (GRPO, "group_loss", grpo_tokens, "responses counted", 's.aggregation == "response" => True'),
    (
        GRPO,
        "group_loss",
        grpo_cut,
        "normalised by micro-batch",
        "weights=weights, normalizer=normalizer => weights=weights, normalizer=len(mask)",
    ),
    (GRPO, "group_loss", grpo_gradients, "others' weights", f"cut(weight_of_tokens) => weight_of_tokens{FIRST_ONES}"),
    (GRPO, "group_loss", grpo_gradients, "importance inverted", f"{OLD_OVER_SAMPLER} => {SAMPLER_OVER_OLD}"),
    (GRPO, "group_loss", stray_gradients, "importance forgotten", "s.importance_cap is not None => False"),
    (GRPO, "group_loss", grpo_gradients, "cap forgotten", "cap=s.importance_cap => cap=1e9"),
    (GRPO, "group_loss", grpo_gradients, "temperature forgotten", "temperature=s.temperature => temperature=1.0"),
    (GRPO, "group_loss", grpo_first_step, "temperature forgotten", "temperature=s.temperature => temperature=1.0"),
    (GRPO, "train_grpo", stray_engine, "gap not told", 'check_gap(numbers["sampler/logprob_gap"], where, run) => pass'),
    (ROLLOUT, "check_gap", grpo_first_step, "always told", "gap > MAX_LOGPROB_GAP => True"),
    (GRPO, "train_grpo", grpo_resume, "first prompts", "prompts_per_step, step, => prompts_per_step, start,"),
]


@pytest.mark.parametrize(
    ("path", "check", "change"),
    [(f"{module}:{name}", check, change) for module, name, check, _, change in MUTANTS],
    ids=[f"{name}: {what}, {check.__name__}" for _, name, check, what, _ in MUTANTS],
)
def test_a_test_rejects_the_mutant(
    path: str, check: Check, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = inspect.unwrap(pkgutil.resolve_name(path))
    monkeypatch.setattr(function, "__code__", mutant(function, change).__code__)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(tmp_path)


def mutant(function: Callable, change: str) -> Callable:
    """The function as its module would define it with one piece of its source replaced."""
    old, new = change.split(" => ")
    module, source = sys.modules[function.__module__], inspect.getsource(function)
    assert source.count(old) == 1, (
        f"{function.__qualname__} holds {old!r} {source.count(old)} times, and a mutant replaces one"
    )
    changed = ModuleType(module.__name__)
    whole = inspect.getsource(module).replace(source, source.replace(old, new))
    exec(compile(whole, f"<mutant of {module.__file__}>", "exec"), changed.__dict__)
    return inspect.unwrap(operator.attrgetter(function.__qualname__)(changed))
