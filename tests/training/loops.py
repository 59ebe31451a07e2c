"""What the tests of the three loops share: settings, gradients caught before the update, and the question of resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.training.world import MemoryRun
from torch import Tensor, nn

from trimtab.errors import Interrupted
from trimtab.models.trunk import Trunk
from trimtab.training import learner
from trimtab.training.rollout import Rollout
from trimtab.training.step import OptimizerSettings

OPTIMIZER = OptimizerSettings(learning_rate=1e-2, warmup_ratio=0.0, schedule="linear")
NEVER = 1e9  # seconds between checkpoints
ADAPTER = {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear"}
SMALL, LARGE = 40, 100_000  # tokens: a row or two at a time, and everything at once

Gradients = dict[str, Tensor]
Loop = Callable[[MemoryRun], dict[str, Tensor]]
"""Builds its models from fixed seeds, trains them, and returns the tensors that were trained."""


def with_dropout(trunk: Trunk, adapter: str) -> None:
    """A fresh adapter whose training is random."""
    torch.manual_seed(0)
    trunk.add_adapter(adapter, **ADAPTER | {"dropout": 0.2})


@contextmanager
def gradients_of() -> Iterator[list[Gradients]]:
    """The gradients of every update a loop makes, as they are before they are clipped."""
    caught: list[Gradients] = []
    update = learner.update

    def catching(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter], **settings: object) -> float:
        caught.append({name: p.grad.clone() for name, p in parameters.items() if p.grad is not None})
        return update(optimizer, parameters, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "update", catching)
        yield caught


@contextmanager
def strange_sampler(module: ModuleType) -> Iterator[None]:
    """Rollouts whose sampler says that it drew from another distribution, by up to half a nat a token.

    Padding says something, too, which nobody may read.
    """
    collect = module.collect

    def collecting(*arguments: object, **settings: object) -> Rollout:
        rollout = collect(*arguments, **settings)
        noise = torch.rand(rollout.mask.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        return replace(rollout, sampler_logprobs=rollout.sampler_logprobs + noise)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "collect", collecting)
        yield


def importance_by_hand(logprobs: Tensor, rollout: Rollout, cap: float | None) -> Tensor:
    """min(p / p_sampler, cap) of each token, one after another; 1 without a cap."""
    weights = torch.ones(rollout.mask.shape, dtype=torch.float64)
    if cap is not None:
        for r, t in rollout.mask.nonzero().tolist():
            weights[r, t] = min(math.exp(logprobs[r, t].item() - rollout.sampler_logprobs[r, t].item()), cap)
        assert (weights == cap).any()
        assert weights.min() < 0.9
    return weights


def assert_same_gradients(actual: Sequence[Gradients], expected: Sequence[Gradients]) -> None:
    """Equal to 1e-5, and not because there are none."""
    assert len(actual) == len(expected) > 0
    for ours, theirs in zip(actual, expected, strict=True):
        assert list(ours) == list(theirs)
        assert max(gradient.abs().max() for gradient in theirs.values()) > 1e-3
        for name, gradient in theirs.items():
            torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-4)


def check_resume(loop: Loop, folder: Path, stops: Sequence[int]) -> None:
    """Stopped after any of these steps and started again, a loop ends bit for bit as if it had never stopped.

    The second start finds other random numbers in the process than the first: none of them may matter.
    """
    straight = MemoryRun(folder / "straight")
    expected = loop(straight)
    for stop in stops:
        stopped = MemoryRun(folder / f"stopped-{stop}", stop_after=stop)
        with pytest.raises(Interrupted, match=f"after step {stop} of"):
            loop(stopped)
        resumed = MemoryRun(stopped.state)
        resumed.logged = list(stopped.logged)
        torch.manual_seed(1000 + stop)
        actual = loop(resumed)
        assert without_times(resumed.logged) == without_times(straight.logged)
        assert list(actual) == list(expected)
        assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


def without_times(logged: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in logged]


def tensors_of(*parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """Copies of what was trained."""
    return {f"{n}/{name}": p.detach().clone() for n, group in enumerate(parameters) for name, p in group.items()}
