"""The DPO loop: its numbers and first gradients from plain forwards, a reference that stays, and resume."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.models.plain import plain_logprobs, stir
from tests.reference import dpo as oracle
from tests.training.loops import (
    LARGE,
    NEVER,
    OPTIMIZER,
    SMALL,
    Gradients,
    Loop,
    assert_same_gradients,
    check_resume,
    gradients_of,
    tensors_of,
    with_dropout,
)
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor
from torch.nn.functional import logsigmoid

from trimtab.models.policy import Policy
from trimtab.models.reference import Reference, reference_of
from trimtab.models.rows import TokenRow, lay_out
from trimtab.training.dpo import train_dpo
from trimtab.training.passes import Passes
from trimtab.training.row_files import Pair, PreferenceRow
from trimtab.training.step import OptimizerSettings

TEMPLATE = tiny_policy().template
BETA = 0.4


def rows() -> list[PreferenceRow]:
    """Three prompts with three, one and one comparisons; labels sure, soft, and turned round."""
    texts = [["Meals", "Travel", "Missing receipt"], ["No.", "Yes."], ["Lunch for two", "Lunch"]]
    pairs = [
        (Pair(0, 1, 1.0, 0.0), Pair(0, 2, 0.9, 0.0), Pair(2, 1, 1.0, 0.0)),
        (Pair(1, 0, 0.7, 0.0),),
        (Pair(0, 1, 0.0, 0.0),),
    ]
    return [
        PreferenceRow(
            TokenRow(tuple(TEMPLATE.prompt_ids(prompt)), tuple(tuple(TEMPLATE.response_ids(one)) for one in several)),
            compared,
        )
        for prompt, several, compared in zip(prompts(3), texts, pairs, strict=True)
    ]


def make_policy(adapter: bool, dropout: bool = False) -> Policy:
    policy = tiny_policy(adapter=adapter and not dropout)
    if adapter and dropout:
        with_dropout(policy.trunk, "policy")
        policy.adapter = "policy"
    return policy


def reference_in(policy: Policy, folder: Path) -> Reference:
    return reference_of(policy, folder / "reference.safetensors")


def move(policy: Policy) -> None:
    """Away from where its reference is."""
    if policy.adapter is not None:
        stir(policy.trunk, policy.adapter)
        return
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.trainable_parameters().values():
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)


def train(
    policy: Policy,
    reference: Reference,
    run: MemoryRun,
    *,
    settings: OptimizerSettings = OPTIMIZER,
    num_epochs: int = 1,
    prompts_per_step: int = 8,
    max_steps: int | None = None,
) -> None:
    train_dpo(
        policy,
        reference,
        rows(),
        settings=settings,
        passes=Passes(num_epochs, prompts_per_step, max_steps),
        beta=BETA,
        seed=0,
        checkpoint_seconds=NEVER,
        run=run,
    )


def totals(policy: Policy, model: torch.nn.Module) -> list[list[Tensor]]:
    """log p of each response, prompt by prompt, one forward each."""
    with policy.trunk.using(policy.adapter):
        return [[plain_logprobs(model, r.row.prompt_ids, y).sum() for y in r.row.responses] for r in rows()]


# The first update ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [False, True], ids=["at the reference", "moved"])
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_the_first_gradients_are_those_of_plain_forwards(tmp_path: Path, adapter: bool, moved: bool) -> None:
    """The mean over comparisons, each weighing the same, of equation 7. At the reference that is
    (1/2 - p) beta (grad log pi(y_w) - grad log pi(y_l))."""
    check_first_gradients(tmp_path, adapter, moved)


def check_first_gradients(folder: Path, adapter: bool, moved: bool) -> None:
    policy = make_policy(adapter)
    reference = reference_in(policy, folder)
    before = [[total.item() for total in several] for several in totals(policy, copy.deepcopy(policy.model))]
    if moved:
        move(policy)

    ours = totals(policy, policy.model)
    losses, by_scalars = [], []
    for row, new, old in zip(rows(), ours, before, strict=True):
        for pair in row.pairs:
            c, r, p = pair.chosen, pair.rejected, pair.probability
            surplus = BETA * ((new[c] - old[c]) - (new[r] - old[r]))
            losses.append(-p * logsigmoid(surplus) - (1 - p) * logsigmoid(-surplus) if moved else (0.5 - p) * surplus)
            both = [([new[i].item()], [old[i]]) for i in (c, r)]
            by_scalars.append(oracle.loss(*both, BETA, p))
    assert len(losses) == 5
    parameters = policy.trainable_parameters()
    found = torch.autograd.grad(sum(losses) / 5, parameters.values())
    expected: Gradients = dict(zip(parameters, found, strict=True))

    run = MemoryRun(folder)
    with gradients_of() as caught:
        train(policy, reference, run, settings=replace(OPTIMIZER, micro_batch_tokens=SMALL))
    assert_same_gradients(caught, [expected])
    (line,) = run.logged
    assert line["dpo/loss"] == pytest.approx(sum(by_scalars) / 5, abs=1e-4)
    assert (line["dpo/loss"] == pytest.approx(math.log(2), abs=1e-5)) != moved
    chosen = [
        BETA * (n[p.chosen] - o[p.chosen]).item() for r, n, o in zip(rows(), ours, before, strict=True) for p in r.pairs
    ]
    assert line["dpo/chosen_reward"] == pytest.approx(sum(chosen) / 5, abs=1e-4)


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_cutting_a_batch_changes_no_gradient(tmp_path: Path, adapter: bool) -> None:
    check_cut(tmp_path, adapter)


def check_cut(folder: Path, adapter: bool) -> None:
    gradients = []
    for max_tokens in (SMALL, LARGE):
        policy = make_policy(adapter)
        reference = reference_in(policy, folder)
        move(policy)
        with gradients_of() as caught:
            settings = replace(OPTIMIZER, micro_batch_tokens=max_tokens)
            train(policy, reference, MemoryRun(folder), settings=settings)
        gradients.append(caught)
    assert_same_gradients(*gradients)


# Learning ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_it_starts_at_log_2_and_learns_the_labels_while_the_reference_stays(tmp_path: Path, adapter: bool) -> None:
    """Nothing but the policy moves: what the reference says afterwards is what it said before, bit for bit."""
    check_learning(tmp_path, adapter)


def check_learning(folder: Path, adapter: bool) -> None:
    policy, run = make_policy(adapter), MemoryRun(folder)
    reference = reference_in(policy, folder)
    batch = lay_out([row.row for row in rows()], pad_id=TEMPLATE.pad_id)
    before = reference(batch, 1.0)
    torch.testing.assert_close(policy.logprobs(batch), before, atol=1e-5, rtol=0)
    frozen = {n: p.detach().clone() for n, p in policy.model.named_parameters() if not p.requires_grad}
    start = totals(policy, policy.model)

    train(policy, reference, run, num_epochs=8)
    first, last = run.logged[0], run.logged[-1]
    assert first["dpo/loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert first["dpo/margin"] == pytest.approx(0, abs=1e-5)
    assert last["dpo/accuracy"] == 1
    assert last["dpo/margin"] > 1
    assert last["dpo/chosen_reward"] > last["dpo/rejected_reward"]
    assert torch.equal(reference(batch, 1.0), before)
    for row, new, old in zip(rows(), totals(policy, policy.model), start, strict=True):
        gains = [(n - o).item() for n, o in zip(new, old, strict=True)]
        for pair in row.pairs:
            better, worse = (pair.chosen, pair.rejected)[:: 1 if pair.probability > 0.5 else -1]
            assert gains[better] > gains[worse] + 1
    assert all(torch.equal(p, frozen[n]) for n, p in policy.model.named_parameters() if n in frozen)
    assert bool(frozen) == adapter


def test_steps_and_rates(tmp_path: Path) -> None:
    """Three prompts, two a step: two steps a pass. `max_steps` cuts them; the rate falls over those that are left."""
    policy, run = make_policy(adapter=False), MemoryRun(tmp_path)
    train(policy, reference_in(policy, tmp_path), run, num_epochs=2, prompts_per_step=2)
    assert [line["step"] for line in run.logged] == [1, 2, 3, 4]
    assert [line["optim/learning_rate"] for line in run.logged] == pytest.approx([1e-2, 7.5e-3, 5e-3, 2.5e-3])
    policy, run = make_policy(adapter=False), MemoryRun(tmp_path / "cut")
    train(policy, reference_in(policy, tmp_path / "cut"), run, num_epochs=2, prompts_per_step=2, max_steps=2)
    assert [line["optim/learning_rate"] for line in run.logged] == pytest.approx([1e-2, 5e-3])


# Resume --------------------------------------------------------------------------------------------------------------


def trained(run: MemoryRun, policy: Policy) -> dict[str, Tensor]:
    train(policy, reference_in(policy, run.state), run, num_epochs=3, prompts_per_step=2)
    return tensors_of(policy.trainable_parameters())


def full(run: MemoryRun) -> dict[str, Tensor]:
    return trained(run, make_policy(adapter=False))


def lora(run: MemoryRun) -> dict[str, Tensor]:
    return trained(run, make_policy(adapter=True, dropout=True))


@pytest.mark.parametrize("loop", [full, lora])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    check_resume(loop, tmp_path, stops=(1, 3, 5))


def test_an_adapters_inputs_are_dropped_while_learning(tmp_path: Path) -> None:
    """The same adapter with dropout and without ends elsewhere, though the first step, at the identity, is the same."""
    check_dropout(tmp_path)


def check_dropout(folder: Path) -> None:
    logged, results = [], []
    for on in (True, False):
        policy, run = make_policy(adapter=True, dropout=True), MemoryRun(folder)
        for module in policy.model.modules():
            if isinstance(module, torch.nn.Dropout) and not on:
                module.p = 0.0
        train(policy, reference_in(policy, folder), run, num_epochs=2)
        logged.append(run.logged[0]["dpo/loss"])
        results.append([p.detach().clone() for p in policy.trainable_parameters().values()])
    assert logged[0] == pytest.approx(logged[1], abs=1e-6)
    assert not all(torch.equal(a, b) for a, b in zip(*results, strict=True))
