"""The fit of a bilinear head: at the optimum of what it minimises, and of use where only the prompt tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.world import MemoryRun, tiny_policy

from trimtab.errors import Interrupted, ModelError
from trimtab.models.bilinear_reward import BilinearHead, BilinearReward
from trimtab.models.features import mean_features
from trimtab.models.rows import TokenRow
from trimtab.training.bilinear_reward import fit_bilinear_reward
from trimtab.training.row_files import Pair, PreferenceRow

YES, NO = (20, 21, 22), (23, 24)


def row(prompt: tuple[int, ...], *pairs: Pair) -> PreferenceRow:
    return PreferenceRow(TokenRow(prompt, (YES, NO)), pairs)


def twins() -> list[PreferenceRow]:
    """The same two responses to every prompt: which one is better, the prompt alone tells."""
    return [
        row((5, 6, 7 + n), Pair(0, 1, 1.0, 0.0)) if n % 2 else row((30, 31, 32 + n), Pair(1, 0, 1.0, 0.0))
        for n in range(8)
    ]


def new_model() -> BilinearReward:
    trunk = tiny_policy(seed=1).trunk
    return BilinearReward(trunk, BilinearHead.fresh(trunk.config.hidden_size), base="")


def fit(model: BilinearReward, rows: list[PreferenceRow], run: MemoryRun, l2: float = 1e-4, **more: bool) -> None:
    settings = {"normalize": False} | more
    fit_bilinear_reward(model, rows, l2=l2, pad_id=0, max_tokens=100, run=run, **settings)


def test_it_learns_what_only_the_prompt_tells(tmp_path: Path) -> None:
    model, run = new_model(), MemoryRun(tmp_path)
    fit(model, twins(), run)
    scores = model.score_rows([one.row for one in twins()], pad_id=0, max_tokens=100)
    assert [bool(yes > no) for yes, no in scores] == [n % 2 == 1 for n in range(8)]
    assert run.logged[-1]["reward_model/accuracy"] == 1
    assert run.logged[-1]["reward_model/loss"] < 0.3


def test_the_penalised_loss_is_flat_where_it_ends(tmp_path: Path) -> None:
    """The objective as its docstring has it: soft labels, a margin, and two pairs of one prompt that weigh as one."""
    rows = [*twins()[:3], row((40, 41), Pair(0, 1, 0.7, 0.3), Pair(1, 0, 0.9, 0.0))]
    model, l2 = new_model(), 1e-2
    fit(model, rows, MemoryRun(tmp_path), l2=l2)
    head = model.head
    weight, interaction = head.weight.double().requires_grad_(), head.interaction.double().requires_grad_()
    loss = l2 * ((weight**2).sum() / 0.1 + (interaction**2).sum())
    read = mean_features(model.trunk, [one.row for one in rows], pad_id=0, max_tokens=100)
    for one, (prompt, responses) in zip(rows, read, strict=True):
        scores = head.responses(responses).double() @ (weight + interaction @ head.prompts(prompt).double())
        for pair in one.pairs:
            ahead = scores[pair.chosen] - scores[pair.rejected] - pair.margin
            bits = -pair.probability * ahead.sigmoid().log() - (1 - pair.probability) * (-ahead).sigmoid().log()
            loss = loss + bits / len(one.pairs) / len(rows)
    loss.backward()
    assert weight.grad is not None
    assert interaction.grad is not None
    assert min(weight.abs().max(), interaction.abs().max()) > 1e-3
    assert weight.grad.abs().max() < 1e-5
    assert interaction.grad.abs().max() < 1e-5


def test_it_goes_on_from_the_head_that_it_has(tmp_path: Path) -> None:
    model = new_model()
    fit(model, twins(), MemoryRun(tmp_path), normalize=True)
    rows = [one.row for one in twins()]
    first, head = torch.cat(model.score_rows(rows, pad_id=0, max_tokens=100)), model.head
    assert first.mean().item() == pytest.approx(0, abs=1e-5)
    assert first.std(unbiased=False).item() == pytest.approx(1, abs=1e-5)
    turned = [
        row(one.row.prompt_ids, Pair(pair.rejected, pair.chosen, 1.0, 0.0)) for one in twins() for pair in one.pairs
    ]
    fit(model, turned, MemoryRun(tmp_path), l2=1e6, normalize=True)  # so strong a pull that nothing can be learnt
    torch.testing.assert_close(torch.cat(model.score_rows(rows, pad_id=0, max_tokens=100)), first, atol=1e-3, rtol=1e-3)
    fit(model, turned, MemoryRun(tmp_path), l2=1e-5, normalize=True)
    assert ((torch.cat(model.score_rows(rows, pad_id=0, max_tokens=100)) > 0) == (first > 0)).float().mean() < 0.5
    assert model.head.prompts is head.prompts  # the standard of the first data stays: weights mean what they meant


def test_labels_that_say_nothing_are_no_reward_model(tmp_path: Path) -> None:
    rows = [row((5, 6), Pair(0, 1, 0.5, 0.0)), row((7, 8), Pair(0, 1, 0.5, 0.0))]
    with pytest.raises(ModelError, match="same score"):
        fit(new_model(), rows, MemoryRun(tmp_path), normalize=True)


def test_it_stops_when_asked(tmp_path: Path) -> None:
    run = MemoryRun(tmp_path, stop_after=0)
    with pytest.raises(Interrupted, match="run again"):
        fit(new_model(), twins(), run)
