"""One step: its rate, its gradients however the batch is cut, and what happens to numbers that are not finite."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor, nn

from trimtab.algorithms.output import LossOutput
from trimtab.errors import NumericsError
from trimtab.models.rows import TokenRow
from trimtab.training.encoding import demonstration_rows
from trimtab.training.passes import Passes
from trimtab.training.sft import train_sft
from trimtab.training.step import OptimizerSettings, accumulate, learning_rate, make_optimizer, update
from trimtab.types import Demonstration

ROWS = [TokenRow((5,), ((6,) * n,)) for n in (4, 1, 3, 2)]  # 5, 2, 4 and 3 tokens


# Learning rates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Ten steps, a fifth of them warm-up: 1/2 and 1. The eight others are at 0/8, 1/8 ... 7/8 of their way.
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        # (1 + cos x) / 2 at x = 0, 22.5, 45 ... 157.5 degrees.
        ("cosine", [0.5, 1, 1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]),
    ],
)
def test_learning_rates_by_hand(schedule: str, expected: list[float]) -> None:
    settings = OptimizerSettings(learning_rate=2e-4, warmup_ratio=0.2, schedule=schedule)
    assert [learning_rate(step, 10, settings) / 2e-4 for step in range(10)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0])
def test_a_run_of_one_step_learns(ratio: float) -> None:
    """No warm-up fits in; a warm-up that fills the run ends at the full rate."""
    settings = OptimizerSettings(learning_rate=3.0, warmup_ratio=ratio, schedule="cosine")
    assert learning_rate(0, 1, settings) == 3.0


# Gradients -----------------------------------------------------------------------------------------------------------


def summing_loss(weight: nn.Parameter, seen: list[list[int]], bad: int | None = None) -> LossOutput:
    """A loss of row i that is (i + 1) w, and NaN for the bad one."""

    def loss_of(indices: list[int]) -> LossOutput:
        seen.append(indices)
        factor = sum(math.nan if i == bad else i + 1.0 for i in indices)
        return LossOutput((factor * weight).sum(), {"rows": (torch.tensor(float(sum(indices))), len(indices))})

    return loss_of


@pytest.mark.parametrize("max_tokens", [1, 6, 10, 100])
def test_gradients_and_metrics_add_up_over_micro_batches(tmp_path: Path, max_tokens: int) -> None:
    """d/dw of 1 w + 2 w + 3 w + 4 w is 10, and the mean row number is 1.5, wherever the batch is cut."""
    weight, seen = nn.Parameter(torch.ones(1)), []
    metrics = accumulate(ROWS, summing_loss(weight, seen), max_tokens=max_tokens, where="", dump=tmp_path / "bad.json")
    assert weight.grad.item() == 10
    assert sorted(index for indices in seen for index in indices) == [0, 1, 2, 3]
    assert len(seen) == {1: 4, 6: 3, 10: 2, 100: 1}[max_tokens]  # rows of 2, 3, 4 and 5 tokens, padded
    total, count = metrics["rows"]
    assert float(total) / count == 1.5
    assert not (tmp_path / "bad.json").exists()


def test_a_step_by_hand() -> None:
    """Gradients (3, 0) and (0, 4) have norm 5; clipped to 1 they are a fifth. The rate is the one given, and the
    gradients are gone afterwards."""
    a, b, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    optimizer = torch.optim.SGD([a, b, unused], lr=123.0)
    norm = update(optimizer, {"a": a, "b": b, "unused": unused}, rate=0.5, max_grad_norm=1.0, where="")
    assert norm == 5
    torch.testing.assert_close(torch.cat([a, b]).detach(), torch.tensor([-0.3, 0.0, 0.0, -0.4]), atol=1e-6, rtol=0)
    assert torch.equal(unused, torch.zeros(2))
    assert a.grad is None
    assert b.grad is None


def test_gradients_within_the_bound_are_not_scaled() -> None:
    a = nn.Parameter(torch.zeros(2))
    a.grad = torch.tensor([0.3, 0.4])
    assert update(torch.optim.SGD([a]), {"a": a}, rate=1.0, max_grad_norm=1.0, where="") == pytest.approx(0.5)
    torch.testing.assert_close(a.detach(), torch.tensor([-0.3, -0.4]), atol=1e-6, rtol=0)


def test_the_optimiser_by_hand() -> None:
    """AdamW's first step: decay w by rate * weight_decay, then move by rate * g / (|g| + eps). eps counts: with
    g = 1e-5 = eps the step is half as long."""
    a = nn.Parameter(torch.tensor([1.0, 1.0]))
    a.grad = torch.tensor([1.0, 1e-5])
    settings = OptimizerSettings(learning_rate=9.0, weight_decay=0.5)
    update(make_optimizer([a], settings), {"a": a}, rate=0.1, max_grad_norm=10.0, where="")
    torch.testing.assert_close(a.detach(), torch.tensor([0.95 - 0.1, 0.95 - 0.05]), atol=1e-4, rtol=0)


# Numbers that are not finite -----------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_and_shows_its_rows(tmp_path: Path) -> None:
    """Rows 1 and 3, the shortest, are computed together; row 3 is bad; the others of the batch are not accused."""
    weight, dump = nn.Parameter(torch.ones(1)), tmp_path / "state" / "bad_batch.json"
    with pytest.raises(NumericsError, match=r"sft step 7: the loss is nan on rows \[1, 3\] of the batch.*bad_batch"):
        accumulate(ROWS, summing_loss(weight, [], bad=3), max_tokens=6, where="sft step 7", dump=dump)
    assert json.loads(dump.read_text()) == [
        {"index": 1, "prompt_ids": [5], "responses": [[6]]},
        {"index": 3, "prompt_ids": [5], "responses": [[6, 6]]},
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_stops_and_names_its_parameter(bad: float) -> None:
    """Before anything has changed: weights, and the optimiser's moments of an earlier step."""
    parameters = {name: nn.Parameter(torch.ones(2)) for name in ("good", "worse", "fine", "unused")}
    optimizer = make_optimizer(parameters.values(), OptimizerSettings(learning_rate=0.1))

    def fill(second: float) -> None:
        for name in ("good", "worse", "fine"):
            parameters[name].grad = torch.tensor([1.0, second if name == "worse" else 1.0])

    fill(1.0)
    update(optimizer, parameters, rate=0.1, max_grad_norm=1.0, where="sft step 1")
    before = snapshot(parameters, optimizer)
    fill(bad)
    with pytest.raises(NumericsError, match=r"sft step 2: .*1 parameters are concerned, first \['worse'\]"):
        update(optimizer, parameters, rate=0.1, max_grad_norm=1.0, where="sft step 2")
    after = snapshot(parameters, optimizer)
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def snapshot(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    moments = {
        f"{name}/{moment}": value.clone()
        for name, parameter in parameters.items()
        for moment, value in optimizer.state[parameter].items()
    }
    return weights | moments


def test_a_loop_stops_at_a_broken_model(tmp_path: Path) -> None:
    """One weight is NaN. The first step says so, nothing is logged, and no weight moves."""
    policy = tiny_policy()
    parameters = policy.trainable_parameters()
    name = "model.layers.1.mlp.up_proj.weight"
    with torch.no_grad():
        parameters[name][0, 0] = math.nan
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    demonstrations = [Demonstration(prompt, "answer") for prompt in prompts(3)]
    run = MemoryRun(tmp_path)
    rows = demonstration_rows(demonstrations, policy.template, max_length=100, run=run)
    with pytest.raises(NumericsError, match=r"fine-tuning step 1: the loss is nan on rows"):
        train_sft(
            policy,
            rows,
            settings=OptimizerSettings(learning_rate=0.1),
            passes=Passes(1, 3),
            seed=0,
            checkpoint_seconds=0,
            run=run,
        )
    written = json.loads((tmp_path / "bad_batch.json").read_text())
    assert sorted(tuple(row["prompt_ids"]) for row in written) == sorted(row.prompt_ids for row in rows)
    assert run.logged == []
    assert {path.name for path in tmp_path.iterdir()} == {"bad_batch.json", "demonstrations"}
    for name, parameter in policy.trainable_parameters().items():
        torch.testing.assert_close(parameter.detach(), before[name], atol=0, rtol=0, equal_nan=True)
