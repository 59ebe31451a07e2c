"""Rankings: what a prompt weighs, an order that is learnt and generalises under both losses, and resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from tests.models.plain import plain_states
from tests.reference.preference import plackett_luce
from tests.training.loops import (
    LARGE,
    OPTIMIZER,
    SMALL,
    Loop,
    assert_same_gradients,
    check_resume,
    gradients_of,
    tensors_of,
)
from tests.training.test_reward_model import scalar_model
from tests.training.test_reward_model import train as train_on_labels
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor

from trimtab.data.formats import ranked_pairs
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.encoding import preference_rows, ranked_rows
from trimtab.training.reward_model import on_rankings
from trimtab.training.row_files import PreferenceRow, RankedRow
from trimtab.types import Prompt, Ranking

POLICY = tiny_policy()
TEMPLATE = POLICY.template
FIRST, SECOND, THIRD = prompts(3)
RANKINGS = [
    Ranking(FIRST, ("Meals", "Travel", "Lunch"), ((1, 2), (0,))),
    Ranking(SECOND, ("No.", "Yes."), ((1,), (0,))),
    Ranking(FIRST, ("Travel", "Missing receipt", "Lunch", "Meals"), ((3,), (0,), (1, 2))),
    Ranking(THIRD, ("Lunch for two", "Lunch"), ((0, 1),)),
]


def rows_of(rankings: Sequence[Ranking]) -> list[RankedRow]:
    with TemporaryDirectory() as folder:
        return list(ranked_rows(rankings, TEMPLATE, max_length=100, run=MemoryRun(Path(folder))))


def pairs_of(rankings: Sequence[Ranking]) -> list[PreferenceRow]:
    pairs = [pair for ranking in rankings for pair in ranked_pairs(ranking)]
    with TemporaryDirectory() as folder:
        return list(preference_rows(pairs, TEMPLATE, max_length=100, run=MemoryRun(Path(folder))))


def train(model: ScalarModel, rows: Sequence[RankedRow], run: MemoryRun, **options: Any) -> None:
    train_on_labels(model, rows, run, objective=on_rankings(model), **options)


# Weights -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def plain_score(model: ScalarModel, prompt: Prompt, text: str, weight: Tensor | None = None) -> float:
    """The score of a response that is alone with its prompt, by a plain forward."""
    tokens = [*TEMPLATE.prompt_ids(prompt), *TEMPLATE.response_ids(text)]
    weight = model.head.weight[0].double() if weight is None else weight
    return float(plain_states(model.trunk.causal_lm, tokens)[-1].double() @ weight)


def loss_by_hand(model: ScalarModel, weight: Tensor | None = None) -> float:
    """The mean over prompts of the mean over their rankings, from plain forwards and the sum over all orders."""
    losses: dict[Prompt, list[float]] = {}
    for one in RANKINGS:
        scores = [plain_score(model, one.prompt, text, weight) for text in one.responses]
        ranks = [next(rank for rank, tier in enumerate(one.tiers) if n in tier) for n in range(len(scores))]
        losses.setdefault(one.prompt, []).append(plackett_luce(scores, ranks))
    return math.fsum(math.fsum(several) / len(several) for several in losses.values()) / 3


def check_weights(folder: Path) -> None:
    """Every prompt weighs one: the first step's loss and its gradient in the head, in some directions."""
    model, run = scalar_model(), MemoryRun(folder)
    weight = model.head.weight.detach()[0].double()
    directions = torch.randn(3, len(weight), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-4
    expected = loss_by_hand(model)
    slopes = [
        (loss_by_hand(model, weight + step * d) - loss_by_hand(model, weight - step * d)) / (2 * step)
        for d in directions
    ]
    with gradients_of() as caught:
        train(model, rows_of(RANKINGS), run)
    (line,), (gradients,) = run.logged, caught
    assert line["reward_model/loss"] == pytest.approx(expected, abs=1e-4)
    found = directions @ gradients["scalar_head.weight"][0].double()
    torch.testing.assert_close(found, torch.tensor(slopes, dtype=torch.float64), atol=1e-4, rtol=1e-3)


def test_every_prompt_weighs_one(tmp_path: Path) -> None:
    check_weights(tmp_path)


def check_cut(folder: Path) -> None:
    gradients = []
    for max_tokens in (SMALL, LARGE):
        with gradients_of() as caught:
            settings = replace(OPTIMIZER, micro_batch_tokens=max_tokens)
            train(scalar_model(), rows_of(RANKINGS), MemoryRun(folder), settings=settings)
        gradients.append(caught)
    assert_same_gradients(*gradients)


def test_cutting_a_batch_changes_no_gradient(tmp_path: Path) -> None:
    check_cut(tmp_path)


# Learning ------------------------------------------------------------------------------------------------------------

VERDICTS = ("Approved.", "Approved, see note.", "Missing receipt.", "Refused.")


def ranked(start: int, stop: int) -> list[Ranking]:
    """All four verdicts in their order, the middle ones tied in one ranking of four; the responses are mixed up."""
    rankings = []
    for amount, question in enumerate(prompts(stop)[start:], start=start):
        texts = tuple(f"{amount} EUR. {verdict}" for verdict in VERDICTS)
        mixed = (texts[amount % 4 :] + texts[: amount % 4])[::-1]
        tiers = tuple((mixed.index(text),) for text in texts)
        rankings.append(Ranking(question, mixed, tiers if amount % 4 else (tiers[0], tiers[1] + tiers[2], tiers[3])))
    return rankings


def learnt_by_pairs(model: ScalarModel, rankings: Sequence[Ranking], run: MemoryRun) -> None:
    train_on_labels(model, pairs_of(rankings), run, num_epochs=8, prompts_per_step=4, normalize=True)


def learnt_by_places(model: ScalarModel, rankings: Sequence[Ranking], run: MemoryRun) -> None:
    train(model, rows_of(rankings), run, num_epochs=8, prompts_per_step=4, normalize=True)


@pytest.mark.parametrize("learn", [learnt_by_pairs, learnt_by_places])
def test_an_order_is_learnt_and_generalises(
    learn: Callable[[ScalarModel, Sequence[Ranking], MemoryRun], None], tmp_path: Path
) -> None:
    """On questions that were not in the data the verdicts come out in their order; the scores are normalised."""
    model, run = scalar_model(), MemoryRun(tmp_path)
    learn(model, ranked(0, 16), run)
    assert run.logged[-1]["reward_model/loss"] < run.logged[0]["reward_model/loss"]
    unseen = ranked(16, 24)
    scores = model.score_rows([row.row for row in rows_of(unseen)], pad_id=TEMPLATE.pad_id, max_tokens=LARGE)
    for one, found in zip(unseen, scores, strict=True):
        texts = [one.responses[place] for place in found.argsort(descending=True).tolist()]
        assert [text.split(" EUR. ")[1] for text in texts] == list(VERDICTS)
    seen = model.score_rows([row.row for row in rows_of(ranked(0, 16))], pad_id=TEMPLATE.pad_id, max_tokens=SMALL)
    assert torch.cat(seen).mean().item() == pytest.approx(0, abs=1e-4)
    assert torch.cat(seen).std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_without_ties_pairs_are_equation_1_of_instructgpt(tmp_path: Path) -> None:
    """Three responses in an order, and two: the mean over each prompt's pairs, then over prompts."""
    rankings = [Ranking(FIRST, ("a", "b", "c"), ((2,), (0,), (1,))), Ranking(SECOND, ("a", "b"), ((1,), (0,)))]
    model, run = scalar_model(), MemoryRun(tmp_path)
    losses = []
    for one in rankings:
        scores = [plain_score(model, one.prompt, one.responses[place]) for (place,) in one.tiers]
        several = [
            math.log(1 + math.exp(worse - better)) for n, better in enumerate(scores) for worse in scores[n + 1 :]
        ]
        losses.append(math.fsum(several) / len(several))
    train_on_labels(model, pairs_of(rankings), run)
    assert run.logged[0]["reward_model/loss"] == pytest.approx(math.fsum(losses) / 2, abs=1e-4)


# Resume --------------------------------------------------------------------------------------------------------------


def lora(run: MemoryRun) -> dict[str, Tensor]:
    model = scalar_model(dropout=True)
    train(model, rows_of(RANKINGS), run, num_epochs=3, prompts_per_step=2, normalize=True)
    return tensors_of(model.trainable_parameters())


def full(run: MemoryRun) -> dict[str, Tensor]:
    model = ScalarModel.fresh(tiny_policy().trunk, adapter=None, seed=0)
    train(model, rows_of(RANKINGS), run, num_epochs=3, prompts_per_step=2, normalize=True)
    return tensors_of(model.trainable_parameters())


@pytest.mark.parametrize("loop", [lora, full])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    check_resume(loop, tmp_path, stops=range(1, 6))
