"""Checkpoints: whole or absent, and exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.world import MemoryRun
from torch import nn

from trimtab.errors import Interrupted, ModelError
from trimtab.training.state import TENSORS, Checkpoint


def make(folder: Path, stop_after: int | None = None, every_seconds: float = 1e9):
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    run = MemoryRun(folder, stop_after)
    return (
        layer,
        optimizer,
        run,
        Checkpoint(run, dict(layer.named_parameters()), [optimizer], every_seconds=every_seconds),
    )


def take_steps(layer: nn.Linear, optimizer: torch.optim.Optimizer, start: int, stop: int) -> None:
    for step in range(start, stop):
        layer(torch.full((1, 3), float(step + 1))).pow(2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_restored_run_is_bit_identical(tmp_path: Path) -> None:
    straight, straight_optimizer, _, _ = make(tmp_path / "straight")
    take_steps(straight, straight_optimizer, 0, 5)

    first, first_optimizer, _, checkpoint = make(tmp_path / "resumed")
    take_steps(first, first_optimizer, 0, 2)
    checkpoint.save(2, {"kl_coef": 0.1})
    second, second_optimizer, _, checkpoint = make(tmp_path / "resumed")
    assert checkpoint.restore() == (2, {"kl_coef": 0.1})
    take_steps(second, second_optimizer, 2, 5)
    for ours, theirs in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_only_the_newest_checkpoint_is_kept(tmp_path: Path) -> None:
    *_, checkpoint = make(tmp_path)
    checkpoint.save(1, {})
    checkpoint.save(2, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]


def test_what_a_kill_left_half_written_is_ignored(tmp_path: Path) -> None:
    *_, checkpoint = make(tmp_path)
    checkpoint.save(1, {})
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / TENSORS).write_bytes(b"half")
    *_, checkpoint = make(tmp_path)
    assert checkpoint.restore()[0] == 1


def test_a_cut_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    *_, checkpoint = make(tmp_path)
    checkpoint.save(1, {})
    tensors = tmp_path / "step-1" / TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"step-1 cannot be used.*\nRemove"):
        checkpoint.restore()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    *_, checkpoint = make(tmp_path)
    checkpoint.save(1, {})
    other = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(other.parameters())
    foreign = Checkpoint(MemoryRun(tmp_path), dict(other.named_parameters()), [optimizer], every_seconds=1)
    with pytest.raises(ModelError, match="cannot be used"):
        foreign.restore()


def test_a_stop_saves_first(tmp_path: Path) -> None:
    _, _, run, checkpoint = make(tmp_path, stop_after=1)
    run.log({"step": 1})
    with pytest.raises(Interrupted, match="after step 1 of 3"):
        checkpoint.step_done(1, 3)
    *_, again = make(tmp_path)
    assert again.restore()[0] == 1


def test_a_stop_at_the_last_step_is_no_interruption(tmp_path: Path) -> None:
    _, _, run, checkpoint = make(tmp_path, stop_after=1)
    run.log({"step": 3})
    checkpoint.step_done(3, 3)


def test_the_log_is_rewound_to_the_checkpoint(tmp_path: Path) -> None:
    _, _, run, checkpoint = make(tmp_path)
    checkpoint.save(1, {})
    run.logged = [{"step": 1}, {"step": 2}]
    checkpoint.restore()
    assert run.logged == [{"step": 1}]
