"""Fine-tuning: the loss of the first step by hand, learning by heart, and resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from tests.models.plain import plain_logprobs
from tests.training.loops import (
    LARGE,
    NEVER,
    OPTIMIZER,
    SMALL,
    Loop,
    assert_same_gradients,
    check_resume,
    gradients_of,
    tensors_of,
    with_dropout,
)
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor

from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow
from trimtab.training.encoding import demonstration_rows
from trimtab.training.passes import Passes
from trimtab.training.sft import train_sft
from trimtab.training.step import OptimizerSettings
from trimtab.types import Demonstration

ANSWERS = [
    "Meals",
    "Travel, 31 EUR",
    "Lunch for two at the station",
    "Missing receipt: ask the employee",
    "No.",
    "12.50",
    "Approved by the travel desk. Approved.",
    "Coffee\nCoffee",
]


def demonstrations(policy: Policy) -> list[TokenRow]:
    pairs = zip(prompts(len(ANSWERS)), ANSWERS, strict=True)
    given = [Demonstration(*pair) for pair in pairs]
    with TemporaryDirectory() as folder:
        return list(demonstration_rows(given, policy.template, max_length=100, run=MemoryRun(Path(folder))))


def fine_tune(
    policy: Policy,
    rows: Sequence[TokenRow],
    run: MemoryRun,
    *,
    settings: OptimizerSettings = OPTIMIZER,
    num_epochs: int = 1,
    batch_size: int = 8,
    max_steps: int | None = None,
) -> None:
    train_sft(
        policy,
        rows,
        settings=settings,
        passes=Passes(num_epochs, batch_size, max_steps),
        seed=0,
        checkpoint_seconds=NEVER,
        run=run,
    )


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_eight_answers_are_learned_by_heart(tmp_path: Path, adapter: bool) -> None:
    """Afterwards the policy gives each one to its question, word for word, and stops. Beside an adapter the random head
    is frozen; it is made large enough for a sure answer."""
    policy = tiny_policy(adapter=adapter)
    with torch.no_grad():
        policy.trunk.causal_lm.get_output_embeddings().weight *= 4 if adapter else 1
    run = MemoryRun(tmp_path)
    fine_tune(policy, demonstrations(policy), run, num_epochs=60)
    losses = [line["sft/loss"] for line in run.logged]
    assert losses[0] > 3
    assert losses[-1] < 0.05
    template = policy.template
    engine = Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id)
    said = complete(engine, template, prompts(len(ANSWERS)), max_new_tokens=60, temperature=0)
    assert [group[0].text for group in said] == ANSWERS
    assert {group[0].finish_reason for group in said} == {"stop"}


def test_the_first_loss_is_the_mean_over_response_tokens(tmp_path: Path) -> None:
    """Every token of the batch weighs the same, whatever its answer's length, and prompt tokens nothing."""
    policy = tiny_policy()
    rows = demonstrations(policy)
    with torch.no_grad():
        nats = torch.cat([-plain_logprobs(policy.model, row.prompt_ids, row.responses[0]) for row in rows])
    assert len(nats) == sum(len(row.responses[0]) for row in rows)
    check_first_loss(policy, rows, nats, tmp_path)


def check_first_loss(policy: Policy, rows: Sequence[TokenRow], nats: Tensor, folder: Path) -> None:
    run = MemoryRun(folder)
    with gradients_of() as caught:
        fine_tune(policy, rows, run, settings=replace(OPTIMIZER, micro_batch_tokens=SMALL))
    (line,), (gradients,) = run.logged, caught
    assert line["sft/loss"] == pytest.approx(nats.mean().item(), abs=1e-4)
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert line["optim/grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_the_first_gradient_is_that_of_plain_forwards(tmp_path: Path) -> None:
    policy = tiny_policy()
    rows = demonstrations(policy)
    losses = [-plain_logprobs(policy.model, row.prompt_ids, row.responses[0]) for row in rows]
    parameters = policy.trainable_parameters()
    expected = torch.autograd.grad(torch.cat(losses).mean(), parameters.values())
    with gradients_of() as caught:
        fine_tune(policy, rows, MemoryRun(tmp_path), settings=replace(OPTIMIZER, micro_batch_tokens=SMALL))
    assert_same_gradients(caught, [dict(zip(parameters, expected, strict=True))])


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_cutting_a_batch_changes_no_gradient(tmp_path: Path, adapter: bool) -> None:
    gradients = []
    for max_tokens in (SMALL, LARGE):
        policy = tiny_policy(adapter=adapter)
        with gradients_of() as caught:
            settings = replace(OPTIMIZER, micro_batch_tokens=max_tokens)
            fine_tune(policy, demonstrations(policy), MemoryRun(tmp_path), settings=settings)
        gradients.append(caught)
    assert_same_gradients(*gradients)


def test_steps_are_counted(tmp_path: Path) -> None:
    """Eight rows, three at a time, two passes: 3 + 3 + 2 and again, unless the steps are limited."""
    for max_steps, expected in ((None, 6), (4, 4), (100, 6)):
        run = MemoryRun(tmp_path)
        policy = tiny_policy()
        fine_tune(policy, demonstrations(policy), run, num_epochs=2, batch_size=3, max_steps=max_steps)
        assert [line["step"] for line in run.logged] == list(range(1, expected + 1))
        rates = [line["optim/learning_rate"] for line in run.logged]
        assert rates == pytest.approx([1e-2 * (1 - n / expected) for n in range(expected)])  # linear, no warm-up


def full(run: MemoryRun) -> dict[str, Tensor]:
    policy = tiny_policy()
    fine_tune(policy, demonstrations(policy), run, num_epochs=2, batch_size=3)
    return tensors_of(policy.trainable_parameters())


def lora(run: MemoryRun) -> dict[str, Tensor]:
    """With dropout, whose draws a resumed run must repeat."""
    policy = tiny_policy()
    with_dropout(policy.trunk, "policy")
    policy.adapter = "policy"
    fine_tune(policy, demonstrations(policy), run, num_epochs=2, batch_size=3)
    return tensors_of(policy.trainable_parameters())


@pytest.mark.parametrize("loop", [full, lora])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    check_resume(loop, tmp_path, stops=range(1, 6))
