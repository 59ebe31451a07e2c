"""The GRPO loop: gradients from plain forwards, who is asked for what, an engine that strays, and resume."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.plain import each_response, plain_logprobs, plain_table, stir
from tests.reference import group as oracle
from tests.training.loops import (
    ADAPTER,
    LARGE,
    NEVER,
    OPTIMIZER,
    SMALL,
    Gradients,
    Loop,
    assert_same_gradients,
    check_resume,
    gradients_of,
    importance_by_hand,
    strange_sampler,
    tensors_of,
    with_dropout,
)
from tests.training.test_ppo_loop import SETTINGS as PPO_SETTINGS
from tests.training.test_ppo_loop import make_world as make_ppo_world
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor, nn

from trimtab.algorithms.group import Advantages
from trimtab.errors import NumericsError
from trimtab.feedback.scorers import FunctionScorer
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference, reference_of
from trimtab.models.rows import RowBatch, TokenRow
from trimtab.training import grpo, ppo
from trimtab.training.grpo import GroupExperience, GRPOSettings, train_grpo
from trimtab.training.rollout import MAX_LOGPROB_GAP, Rollout
from trimtab.types import Completion, Prompt

PROMPTS = prompts(5)
SETTINGS = GRPOSettings(
    num_steps=4,
    prompts_per_step=3,
    group_size=3,
    max_new_tokens=6,
    temperature=0.8,
    num_epochs=2,
    minibatch_size=6,
    kl_coef=0.3,
    clip_eps=0.2,
    advantages="scaled",
    aggregation="response",
    importance_cap=2.0,
    missing_eos_penalty=0.5,
)
ONE_UPDATE = replace(SETTINGS, num_steps=1, num_epochs=1, minibatch_size=None)
ALL_RESPONSES = 9  # 3 prompts with 3 responses: a minibatch of this size is the whole step, off-policy by its settings
both_kinds = pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])


def make_policy(adapter: bool, dropout: bool = False) -> Policy:
    policy = tiny_policy()
    with torch.no_grad():  # turns end now and then
        policy.trunk.causal_lm.get_input_embeddings().weight[policy.template.end_of_turn_id] *= 4
    if adapter:
        policy.adapter = "policy"
        if dropout:
            with_dropout(policy.trunk, "policy")
        else:
            torch.manual_seed(0)
            policy.trunk.add_adapter("policy", **ADAPTER)
    return policy


def move(policy: Policy, std: float = 0.1) -> None:
    """Away from where its reference is."""
    if policy.adapter is not None:
        stir(policy.trunk, policy.adapter, std=std)
        return
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable_parameters().values():
            parameter += 0.3 * std * torch.randn(parameter.shape, generator=generator)


def by_tokens(prompt: Prompt, completion: Completion) -> float:
    """A score that varies in every group."""
    return sum(completion.token_ids) % 97 / 97


def engine_for(policy: Policy) -> Engine:
    template = policy.template
    return Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id)


@dataclass
class World:
    """A policy, already moved away from its reference, with all it takes to train it."""

    policy: Policy
    reference: Reference
    before: nn.Module
    engine: Engine

    def train(
        self,
        run: MemoryRun,
        settings: GRPOSettings = SETTINGS,
        micro_batch_tokens: int = LARGE,
        scorer: FunctionScorer | None = None,
        questions: Sequence[Prompt] = PROMPTS,
    ) -> None:
        train_grpo(
            self.policy,
            self.reference,
            scorer or FunctionScorer(by_tokens),
            self.engine,
            questions,
            settings=settings,
            optimizer_settings=replace(OPTIMIZER, micro_batch_tokens=micro_batch_tokens),
            seed=0,
            checkpoint_seconds=NEVER,
            run=run,
        )


def make_world(folder: Path, adapter: bool, dropout: bool = False, moved: bool = True) -> World:
    """`before` is a copy of the model as the reference knows it."""
    policy = make_policy(adapter, dropout)
    reference = reference_of(policy, folder / "reference.safetensors")
    before = copy.deepcopy(policy.model)
    if moved:
        move(policy)
    return World(policy, reference, before, engine_for(policy))


def no_reference(batch: RowBatch, temperature: float) -> Tensor:
    raise AssertionError("the reference was asked")


def kept_experiences(patch: pytest.MonkeyPatch) -> list[GroupExperience]:
    """What the loop will make of each of its rollouts."""
    kept: list[GroupExperience] = []
    compared = grpo.compare

    def keeping(*arguments: Any, **settings: Any) -> GroupExperience:
        kept.append(compared(*arguments, **settings))
        return kept[-1]

    patch.setattr(grpo, "compare", keeping)
    return kept


def updates(
    world: World, run: MemoryRun, settings: GRPOSettings, micro_batch_tokens: int = LARGE, **more: Any
) -> tuple[Rollout, list[Gradients]]:
    """The first rollout, and the gradients of every update made."""
    with pytest.MonkeyPatch.context() as patch, gradients_of() as caught:
        kept = kept_experiences(patch)
        world.train(run, settings, micro_batch_tokens, **more)
    return kept[0].rollout, caught


# The objective -------------------------------------------------------------------------------------------------------


def plain(policy: Policy, model: nn.Module, rows: Sequence[TokenRow]) -> Tensor:
    """log p of every token at the sampling temperature, one forward a response."""
    with policy.trunk.using(policy.adapter):
        return each_response(rows, lambda *pair: plain_logprobs(model, *pair, SETTINGS.temperature))


def advantages_by_hand(rollout: Rollout, kind: Advantages) -> Tensor:
    """Group by group, of scores less what it costs not to have ended."""
    scores = [
        by_tokens(completion.prompt, completion) - (0.0 if finished else 0.5)
        for completion, finished in zip(
            (one for group in rollout.completions for one in group), rollout.finished.tolist(), strict=True
        )
    ]
    size = len(rollout.rows[0].responses)
    groups = [scores[start : start + size] for start in range(0, len(scores), size)]
    by_kind = {
        "scaled": partial(oracle.group_relative, scale=True),
        "centred": partial(oracle.group_relative, scale=False),
        "leave_one_out": oracle.leave_one_out,
    }
    return torch.tensor([a for group in groups for a in by_kind[kind](group)], dtype=torch.float64)


def objective_by_hand(
    rollout: Rollout, new: Tensor, old: Tensor, ref: Tensor, weights: Tensor, settings: GRPOSettings
) -> Tensor:
    """DeepSeekMath, equation 3, response by response; or with "token" DAPO's, equation 8. To be minimised."""
    advantages, parts = advantages_by_hand(rollout, settings.advantages), []
    for i, n in enumerate(rollout.mask.sum(1).tolist()):
        ratio = (new[i, :n] - old[i, :n]).exp()
        surrogate = torch.minimum(ratio * advantages[i], ratio.clamp(0.8, 1.2) * advantages[i])
        k3 = (ref[i, :n] - new[i, :n]).exp() - 1 - (ref[i, :n] - new[i, :n])
        parts.append(weights[i, :n] * surrogate - settings.kl_coef * k3)
    if settings.aggregation == "response":
        return -sum(part.mean() for part in parts) / len(parts)
    return -torch.cat(parts).mean()


def gradients(loss: Tensor, policy: Policy) -> Gradients:
    parameters = policy.trainable_parameters()
    return dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))


@pytest.mark.parametrize("cap", [None, 1.3])
@pytest.mark.parametrize("aggregation", ["response", "token"])
@both_kinds
def test_the_first_gradients_are_those_of_plain_forwards(
    tmp_path: Path, adapter: bool, aggregation: str, cap: float | None
) -> None:
    """Of the whole objective: advantages within groups, importance, aggregation, KL from where the reference is."""
    check_first_gradients(tmp_path, adapter, aggregation=aggregation, importance_cap=cap)


@pytest.mark.parametrize(("kind", "kl_coef"), [("centred", 0.3), ("leave_one_out", 0.3), ("scaled", 0.0)])
def test_the_first_gradients_by_other_advantages_and_without_kl(
    tmp_path: Path, kind: Advantages, kl_coef: float
) -> None:
    check_first_gradients(tmp_path, adapter=False, importance_cap=1.3, advantages=kind, kl_coef=kl_coef)


def check_first_gradients(folder: Path, adapter: bool, minibatch_size: int | None = None, **changes: Any) -> None:
    settings = replace(ONE_UPDATE, minibatch_size=minibatch_size, **changes)
    run = MemoryRun(folder)
    with strange_sampler(grpo):
        rollout, caught = updates(make_world(folder, adapter), run, settings, SMALL)
    assert rollout.mask.sum(1).unique().numel() > 1
    assert set(rollout.finished.tolist()) == {True, False}

    world = make_world(folder, adapter)
    new = plain(world.policy, world.policy.model, rollout.rows)
    if adapter:
        with world.policy.model.disable_adapter():
            ref = plain_without_adapter(world.policy, rollout.rows)
    else:
        ref = plain(world.policy, world.before, rollout.rows).detach()
    weights = importance_by_hand(new, rollout, settings.importance_cap)
    loss = objective_by_hand(rollout, new, new.detach(), ref, weights, settings)
    assert_same_gradients(caught, [gradients(loss, world.policy)])

    (line,) = run.logged
    drift = (new - ref).detach()
    assert drift.abs().max() > 0.05
    gap = (new - rollout.sampler_logprobs).abs()[rollout.mask].mean().item()
    assert line["sampler/logprob_gap"] == pytest.approx(gap, abs=1e-4)
    if settings.kl_coef:
        assert line["kl/ref"] == pytest.approx((drift * rollout.mask).sum(1).mean().item(), abs=1e-3)
        k3 = ((-drift).exp() - 1 + drift)[rollout.mask].mean().item()
        assert line["kl/loss"] == pytest.approx(k3, abs=1e-4)
    with torch.no_grad():
        tables = [plain_entropies(world.policy, row.prompt_ids, y) for row in rollout.rows for y in row.responses]
    assert line["policy/entropy"] == pytest.approx(torch.cat(tables).mean().item(), abs=1e-4)


@torch.no_grad()
def plain_without_adapter(policy: Policy, rows: Sequence[TokenRow]) -> Tensor:
    return each_response(rows, lambda *pair: plain_logprobs(policy.model, *pair, SETTINGS.temperature))


def plain_entropies(policy: Policy, prompt: Sequence[int], response: Sequence[int]) -> Tensor:
    with policy.trunk.using(policy.adapter):
        table = plain_table(policy.model, prompt, response, SETTINGS.temperature)
    return -(table.exp() * table).sum(-1)


@both_kinds
def test_cutting_a_batch_changes_no_gradient(tmp_path: Path, adapter: bool) -> None:
    check_cut(tmp_path, adapter)


def check_cut(folder: Path, adapter: bool) -> None:
    for settings in (ONE_UPDATE, replace(ONE_UPDATE, minibatch_size=6, aggregation="token")):
        (_, cut), (_, whole) = (
            updates(make_world(folder, adapter), MemoryRun(folder), settings, tokens) for tokens in (SMALL, LARGE)
        )
        assert_same_gradients(cut[:1], whole[:1])


# On policy and off ---------------------------------------------------------------------------------------------------


@both_kinds
def test_on_policy_the_update_measures_for_itself(tmp_path: Path, adapter: bool) -> None:
    """One update a rollout needs no log-probabilities from before: the first gradient and the numbers are those of a
    run that measures them first."""
    results = []
    for size in (None, ALL_RESPONSES):
        run = MemoryRun(tmp_path / str(size))
        with strange_sampler(grpo):
            _, caught = updates(make_world(tmp_path, adapter), run, replace(ONE_UPDATE, minibatch_size=size))
        results.append((caught, run.logged[0]))
    (on, ours), (off, theirs) = results
    assert_same_gradients(on, off)
    for name in ours:
        if not name.startswith("time/"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


def test_on_policy_nothing_is_measured_and_off_policy_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []
    measure = grpo.measure

    def counting(*arguments: Any, **settings: Any) -> Any:
        measured.append(1)
        return measure(*arguments, **settings)

    monkeypatch.setattr(grpo, "measure", counting)
    for settings, expected in (
        (ONE_UPDATE, 0),
        (replace(ONE_UPDATE, num_epochs=2), 1),
        (replace(ONE_UPDATE, minibatch_size=6), 1),
    ):
        measured.clear()
        make_world(tmp_path, adapter=True).train(MemoryRun(tmp_path), settings)
        assert len(measured) == expected


@both_kinds
def test_the_second_update_is_clipped_around_the_policy_that_wrote(tmp_path: Path, adapter: bool) -> None:
    """Where the first epoch has moved it, the gradient is that of the clipped objective between the policy as it now is
    and as it was at sampling."""
    check_second_update(tmp_path, adapter)


def check_second_update(folder: Path, adapter: bool) -> None:
    settings = replace(ONE_UPDATE, num_epochs=2, importance_cap=None)
    run = MemoryRun(folder)
    rollout, caught = updates(make_world(folder, adapter), run, settings)
    world = make_world(folder, adapter)
    old = plain(world.policy, world.policy.model, rollout.rows).detach()
    if adapter:
        with world.policy.model.disable_adapter():
            ref = plain_without_adapter(world.policy, rollout.rows)
    else:
        ref = plain(world.policy, world.before, rollout.rows).detach()
    world.train(MemoryRun(folder / "one"), replace(settings, num_epochs=1, minibatch_size=ALL_RESPONSES))

    new = plain(world.policy, world.policy.model, rollout.rows)
    ratios = (new - old).exp()[rollout.mask]
    assert ((ratios - 1).abs() > 0.2).float().mean() > 0.1
    loss = objective_by_hand(rollout, new, old, ref, torch.ones_like(old), settings)
    assert_same_gradients(caught[1:], [gradients(loss, world.policy)])
    assert run.logged[0]["policy/clip_fraction"] > 0.02


def test_the_first_step_finds_policy_reference_and_engine_agreed(tmp_path: Path) -> None:
    """Nothing has moved: no KL, ratios of 1, nothing clipped, an engine that samples from the same model, and no word
    of warning. An adapter's dropout would tear policy and rollout apart once the adapter is no longer the identity."""
    check_agreement(tmp_path)


def check_agreement(folder: Path) -> None:
    world = make_world(folder, adapter=True, dropout=True, moved=False)
    first, second = MemoryRun(folder / "1"), MemoryRun(folder / "2")
    for run in (first, second):
        world.train(run, replace(ONE_UPDATE, minibatch_size=ALL_RESPONSES))
        (line,) = run.logged
        assert line["policy/ratio"] == pytest.approx(1, abs=1e-4)
        assert line["policy/approx_kl"] == pytest.approx(0, abs=1e-5)
        assert line["policy/clip_fraction"] == 0
        assert line["sampler/logprob_gap"] < 1e-4
        assert line["optim/grad_norm"] > 0
        assert run.warnings == []
    assert first.logged[0]["kl/ref"] == pytest.approx(0, abs=1e-4)
    assert first.logged[0]["kl/loss"] == pytest.approx(0, abs=1e-6)
    assert second.logged[0]["kl/loss"] > 1e-4


# What is not asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SETTINGS, ONE_UPDATE], ids=["off-policy", "on-policy"])
def test_without_kl_the_reference_is_never_asked(tmp_path: Path, settings: GRPOSettings) -> None:
    world, run = make_world(tmp_path, adapter=False), MemoryRun(tmp_path)
    world.reference = no_reference
    world.train(run, replace(settings, kl_coef=0.0))
    assert all("kl/ref" not in line and "kl/loss" not in line for line in run.logged)
    with pytest.raises(AssertionError, match="the reference was asked"):
        world.train(MemoryRun(tmp_path / "with"), settings)


def test_groups_of_equal_scores_teach_nothing(tmp_path: Path) -> None:
    """Prompts that differ in their score, not responses: no gradient, no movement, and the log says why."""
    check_equal_scores(tmp_path)


def check_equal_scores(folder: Path) -> None:
    world, run = make_world(folder, adapter=False), MemoryRun(folder)
    before = tensors_of(world.policy.trainable_parameters())
    by_prompt = FunctionScorer(lambda prompt, completion: float(PROMPTS.index(prompt)))
    settings = replace(SETTINGS, kl_coef=0.0, missing_eos_penalty=0.0)
    _, caught = updates(world, run, settings, scorer=by_prompt)
    assert len(caught) == 4 * 2 * 2
    assert not any(gradient.any() for update in caught for gradient in update.values())
    after = tensors_of(world.policy.trainable_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(line["group/zero_variance_fraction"] == 1 and line["optim/grad_norm"] == 0 for line in run.logged)
    # The penalty for not ending is part of the score, so it makes a difference where nothing else does.
    world.train(MemoryRun(folder / "penalty"), replace(ONE_UPDATE, kl_coef=0.0), scorer=by_prompt)
    after = tensors_of(world.policy.trainable_parameters())
    assert not all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_score_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    world, run = make_world(tmp_path, adapter=False), MemoryRun(tmp_path)
    scorer = FunctionScorer(lambda prompt, completion: math.inf if prompt == PROMPTS[2] else 0.0)
    with pytest.raises(NumericsError, match=r"grpo step \d: a score is not finite on rows \[\d\]"):
        world.train(run, SETTINGS, scorer=scorer)
    (bad,) = json.loads((tmp_path / "bad_batch.json").read_text())
    assert bad["prompt_ids"] == world.policy.template.prompt_ids(PROMPTS[2])


# An engine that strays -----------------------------------------------------------------------------------------------


class StrayEngine(Engine):
    """It holds other weights than it is given."""

    def __init__(self, policy: Policy, std: float) -> None:
        template = policy.template
        super().__init__(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id)
        self.held = copy.deepcopy(policy.model)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in self.held.parameters():
                parameter += std * torch.randn(parameter.shape, generator=generator)

    def load_weights(self, model: Any) -> None:
        super().load_weights(self.held)


def test_an_engine_that_strays_is_told(tmp_path: Path) -> None:
    """The gap is logged, as it is from plain forwards of both models, and the run warns of it."""
    check_stray(tmp_path)


def check_stray(folder: Path) -> None:
    world, run = make_world(folder, adapter=False), MemoryRun(folder)
    world.engine = StrayEngine(world.policy, 0.02)
    rollout, _ = updates(world, run, ONE_UPDATE)
    world = make_world(folder, adapter=False)
    with torch.no_grad():
        new, held = (
            plain(world.policy, model, rollout.rows)
            for model in (world.policy.model, StrayEngine(world.policy, 0.02).held)
        )
    gap = (new - held).abs()[rollout.mask].mean().item()
    assert gap > 2 * MAX_LOGPROB_GAP
    assert run.logged[0]["sampler/logprob_gap"] == pytest.approx(gap, abs=1e-4)
    assert len(run.warnings) == 1
    assert (
        f"grpo step 1: the generator's log-probabilities differ from the trainer's by {gap:.3f} nats" in run.warnings[0]
    )


def test_ppo_tells_of_it_too(tmp_path: Path) -> None:
    world, run = make_ppo_world(adapter=False), MemoryRun(tmp_path)
    with strange_sampler(ppo):
        world.train(run, replace(PPO_SETTINGS, num_steps=2))
    assert len(run.warnings) == 2
    assert all(line["sampler/logprob_gap"] > MAX_LOGPROB_GAP for line in run.logged)
    assert run.warnings[0].startswith("ppo step 1: the generator's log-probabilities differ")


def test_importance_weights_find_the_gradient_in_another_engines_samples(tmp_path: Path) -> None:
    """One token, so that the gradient of the expected score is a sum over the vocabulary. From 2048 draws of an engine
    with other weights the loop's gradient, which estimates it, is near with importance weights and far without."""
    check_importance(tmp_path)


def check_importance(folder: Path) -> None:
    settings = replace(
        ONE_UPDATE,
        prompts_per_step=4,
        group_size=512,
        max_new_tokens=1,
        kl_coef=0.0,
        advantages="centred",
        missing_eos_penalty=0.0,
    )
    embeddings = make_world(folder, adapter=False).policy.trunk.causal_lm.get_input_embeddings().weight.detach()
    rewards = embeddings @ torch.randn(embeddings.shape[1], generator=torch.Generator().manual_seed(0))
    scorer = FunctionScorer(lambda prompt, completion: rewards[completion.token_ids[0]].item())
    errors = {}
    for cap in (None, 1e6, 2.0):
        world, run = make_world(folder, adapter=False), MemoryRun(folder / str(cap))
        world.engine = StrayEngine(world.policy, 0.04)
        exact = exact_gradient(world.policy, world.engine.held, rewards)
        changed = replace(settings, importance_cap=cap)
        _, (found,) = updates(world, run, changed, scorer=scorer, questions=PROMPTS[:1])
        errors[cap] = (flat(found) - exact).norm() / exact.norm()
    assert errors[1e6] < 0.25
    assert errors[2.0] < 0.5 * errors[None]
    assert errors[None] > 3 * errors[1e6]


def exact_gradient(policy: Policy, held: nn.Module, rewards: Tensor) -> Tensor:
    """Of minus the expected reward of one token, by enumeration; checks that the engine draws from something else."""
    ids = policy.template.prompt_ids(PROMPTS[0])
    ours, theirs = (plain_table(model, ids, [0], SETTINGS.temperature)[0].exp() for model in (policy.model, held))
    assert (ours - theirs).abs().sum() / 2 > 0.3
    return flat(gradients(-(ours * rewards).sum(), policy))


def flat(update: Gradients) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in update.values()])


# Resume --------------------------------------------------------------------------------------------------------------


def trained(run: MemoryRun, adapter: bool, settings: GRPOSettings) -> dict[str, Tensor]:
    world = make_world(run.state, adapter, dropout=adapter, moved=False)
    world.train(run, settings)
    return tensors_of(world.policy.trainable_parameters())


def full(run: MemoryRun) -> dict[str, Tensor]:
    return trained(run, False, SETTINGS)


def lora(run: MemoryRun) -> dict[str, Tensor]:
    return trained(run, True, SETTINGS)


def on_policy(run: MemoryRun) -> dict[str, Tensor]:
    return trained(run, True, replace(ONE_UPDATE, num_steps=4))


@pytest.mark.parametrize("loop", [full, lora, on_policy])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    check_resume(loop, tmp_path, stops=range(1, SETTINGS.num_steps))
