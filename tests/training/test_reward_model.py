"""The reward model: what a prompt weighs, learning a preference that generalises, and resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from tests.models.plain import plain_states
from tests.reference.preference import bradley_terry, sigmoid
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

from trimtab.errors import ModelError
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.encoding import preference_rows
from trimtab.training.passes import Passes
from trimtab.training.reward_model import Item, Objective, on_comparisons, train_reward_model
from trimtab.training.row_files import PreferenceRow
from trimtab.training.step import OptimizerSettings
from trimtab.types import Comparison

POLICY = tiny_policy()
TEMPLATE = POLICY.template
FIRST, SECOND, THIRD = prompts(3)
COMPARISONS = [
    Comparison(FIRST, "Meals", "Travel"),
    Comparison(SECOND, "No.", "Yes.", probability=0.7, margin=0.25),
    Comparison(FIRST, "Meals", "Missing receipt", probability=0.9),
    Comparison(FIRST, "Travel", "Missing receipt", margin=0.5),
    Comparison(THIRD, "Lunch for two", "Lunch", probability=0.0),
]


def rows_of(comparisons: Sequence[Comparison]) -> Sequence[PreferenceRow]:
    with TemporaryDirectory() as folder:
        return list(preference_rows(comparisons, TEMPLATE, max_length=100, run=MemoryRun(Path(folder))))


def scalar_model(dropout: bool = False) -> ScalarModel:
    """Under an adapter that is the identity so far; its dropout changes nothing before it has learned."""
    trunk = tiny_policy().trunk
    with_dropout(trunk, "reward")
    if not dropout:
        for module in trunk.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return ScalarModel.fresh(trunk, adapter="reward", seed=0)


def train(
    model: ScalarModel,
    rows: Sequence[Item],
    run: MemoryRun,
    *,
    objective: Objective[Item] | None = None,
    settings: OptimizerSettings = OPTIMIZER,
    num_epochs: int = 1,
    prompts_per_step: int = 8,
    centering: float = 0.0,
    normalize: bool = False,
) -> tuple[float, float]:
    """A few small steps; on comparisons, if no other objective is given."""
    return train_reward_model(
        model,
        rows,
        objective or on_comparisons(model, centering=centering),
        settings=settings,
        passes=Passes(num_epochs, prompts_per_step),
        normalize=normalize,
        seed=0,
        checkpoint_seconds=NEVER,
        pad_id=TEMPLATE.pad_id,
        run=run,
    )


# Weights -------------------------------------------------------------------------------------------------------------


def test_all_comparisons_of_a_prompt_are_one_row() -> None:
    """Three comparisons of three responses, each response once; prompts in the order in which they appear."""
    rows = rows_of(COMPARISONS)
    texts = [[TEMPLATE.decode(response) for response in row.row.responses] for row in rows]
    assert texts == [["Meals", "Travel", "Missing receipt"], ["No.", "Yes."], ["Lunch for two", "Lunch"]]
    assert [[(pair.chosen, pair.rejected) for pair in row.pairs] for row in rows] == [
        [(0, 1), (0, 2), (1, 2)],
        [(0, 1)],
        [(0, 1)],
    ]
    assert [row.row.prompt_ids for row in rows] == [tuple(TEMPLATE.prompt_ids(p)) for p in (FIRST, SECOND, THIRD)]


def test_every_prompt_weighs_one(tmp_path: Path) -> None:
    """The loss is the mean over prompts of the mean over their comparisons, with labels and margins: the first step's
    numbers and its gradient in the head, from plain forwards and the textbook loss."""
    model, centering = scalar_model(), 0.1
    weight = model.head.weight.detach()[0].double()

    @torch.no_grad()
    def state(comparison: Comparison, text: str) -> Tensor:
        tokens = [*TEMPLATE.prompt_ids(comparison.prompt), *TEMPLATE.response_ids(text)]
        return plain_states(model.trunk.causal_lm, tokens)[-1]

    losses, margins, right = {p: [] for p in (FIRST, SECOND, THIRD)}, [], []
    gradient = torch.zeros_like(weight)
    for one in COMPARISONS:
        chosen, rejected = state(one, one.chosen), state(one, one.rejected)
        better, worse = (chosen @ weight).item(), (rejected @ weight).item()
        losses[one.prompt].append(bradley_terry(better, worse, one.probability, one.margin, centering))
        share = {FIRST: 1 / 9, SECOND: 1 / 3, THIRD: 1 / 3}[one.prompt]
        # d/dw of the cross-entropy is (sigmoid(d - m) - p) (h_chosen - h_rejected).
        gradient += share * (sigmoid(better - worse - one.margin) - one.probability) * (chosen - rejected)
        gradient += share * 2 * centering * (better + worse) * (chosen + rejected)
        sign = 1 if one.probability > 0.5 else -1
        margins.append(share * sign * (better - worse))
        right.append(share * (sign * (better - worse) > 0))
    expected = sum(sum(several) / len(several) for several in losses.values()) / 3

    run = MemoryRun(tmp_path)
    rows = rows_of(COMPARISONS)
    settings = replace(OPTIMIZER, micro_batch_tokens=SMALL)
    with gradients_of() as caught:
        train(model, rows, run, settings=settings, centering=centering)
    (line,), (gradients,) = run.logged, caught
    assert line["reward_model/loss"] == pytest.approx(expected, abs=1e-4)
    assert line["reward_model/margin"] == pytest.approx(sum(margins), abs=1e-4)
    assert line["reward_model/accuracy"] == pytest.approx(sum(right), abs=1e-6)
    torch.testing.assert_close(gradients["scalar_head.weight"][0].double(), gradient, atol=1e-4, rtol=1e-4)


def test_cutting_a_batch_changes_no_gradient(tmp_path: Path) -> None:
    gradients = []
    rows = rows_of(COMPARISONS)
    for max_tokens in (SMALL, LARGE):
        with gradients_of() as caught:
            settings = replace(OPTIMIZER, micro_batch_tokens=max_tokens)
            train(scalar_model(), rows, MemoryRun(tmp_path), settings=settings, centering=0.1)
        gradients.append(caught)
    assert_same_gradients(*gradients)


# Learning ------------------------------------------------------------------------------------------------------------


def test_a_separable_preference_is_learned_and_generalises(tmp_path: Path) -> None:
    """Approval beats a missing receipt, whatever the question and whatever surrounds it. On questions that were not in
    the data every comparison comes out right; scores of the training responses have mean 0 and deviation 1."""
    model, run = scalar_model(), MemoryRun(tmp_path)
    questions = prompts(24)

    def comparisons(start: int, stop: int) -> list[Comparison]:
        return [
            Comparison(question, f"{amount} EUR. Approved.", f"{amount} EUR. Missing receipt.")
            for amount, question in enumerate(questions[start:stop], start=start)
        ]

    seen, unseen = (rows_of(comparisons(*part)) for part in ((0, 16), (16, 24)))
    train(model, seen, run, num_epochs=6, prompts_per_step=4, normalize=True)
    assert len(run.logged) == 24
    assert run.logged[-1]["reward_model/accuracy"] == 1
    assert run.logged[-1]["reward_model/loss"] < 0.1 < run.logged[0]["reward_model/loss"]
    for row in model.score_rows([row.row for row in unseen], pad_id=TEMPLATE.pad_id, max_tokens=LARGE):
        assert row[0] > row[1] + 1
    scores = torch.cat(model.score_rows([row.row for row in seen], pad_id=TEMPLATE.pad_id, max_tokens=SMALL))
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_shares_are_learnt_as_odds_ties_as_equal_and_margins_are_added(tmp_path: Path) -> None:
    """Where 3 of 4 vote for the first, scores come to differ by log 3; by 0 in a tie; by 1 more under a margin of 1."""
    model, run = scalar_model(), MemoryRun(tmp_path)
    said = {
        ("Approved.", "Missing receipt."): (0.75, 0.0, math.log(3)),
        ("Refused.", "Travel."): (0.5, 0.0, 0.0),
        ("Lunch for two.", "Meals."): (0.5, 1.0, 1.0),
        ("No.", "Yes."): (0.25, 1.0, 1.0 - math.log(3)),
    }
    rows = rows_of(
        [
            Comparison(question, *pair, probability=probability, margin=margin)
            for question in prompts(8)
            for pair, (probability, margin, _) in said.items()
        ]
    )
    train(model, rows, run, num_epochs=25, prompts_per_step=4)
    scores = torch.stack(model.score_rows([row.row for row in rows], pad_id=TEMPLATE.pad_id, max_tokens=LARGE))
    differences = scores[:, 0::2] - scores[:, 1::2]
    expected = torch.tensor([difference for _, _, difference in said.values()])
    torch.testing.assert_close(differences, expected.expand(8, -1), atol=0.1, rtol=0)


def test_a_model_that_scores_all_alike_cannot_be_normalised(tmp_path: Path) -> None:
    model = scalar_model()
    with torch.no_grad():
        model.head.weight.zero_()
    rows = rows_of(COMPARISONS)
    with pytest.raises(ModelError, match="same score"):
        train(model, rows, MemoryRun(tmp_path), normalize=True)


# Resume --------------------------------------------------------------------------------------------------------------


def lora(run: MemoryRun) -> dict[str, Tensor]:
    """With dropout, and normalised before and after: once each, also when it was stopped between."""
    model = scalar_model(dropout=True)
    rows = rows_of(COMPARISONS)
    train(model, rows, run, num_epochs=3, prompts_per_step=2, normalize=True)
    return tensors_of(model.trainable_parameters())


def full(run: MemoryRun) -> dict[str, Tensor]:
    model = ScalarModel.fresh(tiny_policy().trunk, adapter=None, seed=0)
    rows = rows_of(COMPARISONS)
    train(model, rows, run, num_epochs=3, prompts_per_step=2, normalize=True)
    return tensors_of(model.trainable_parameters())


@pytest.mark.parametrize("loop", [lora, full])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    check_resume(loop, tmp_path, stops=range(1, 6))
