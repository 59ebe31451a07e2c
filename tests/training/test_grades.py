"""Grades: the scale that is learnt beside the scores, what a prompt weighs, an order that generalises, and resume."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from tests.reference.ordinal import cumulative_logit
from tests.reference.preference import sigmoid
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
from tests.training.test_rankings import VERDICTS, plain_score
from tests.training.test_reward_model import scalar_model
from tests.training.test_reward_model import train as train_on_labels
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor

from trimtab.algorithms.ordinal import cumulative_logit_loss
from trimtab.errors import DataError
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.encoding import graded_rows
from trimtab.training.grades import SCALE_FILE, GradeScale, on_grades
from trimtab.training.row_files import GradedRow
from trimtab.types import Grade, Prompt

POLICY = tiny_policy()
TEMPLATE = POLICY.template
FIRST, SECOND, THIRD = prompts(3)
GRADES = [
    Grade(FIRST, "Meals", 7, "x"),
    Grade(FIRST, "Travel", 1, "x"),
    Grade(SECOND, "No.", 2.5, "x"),
    Grade(FIRST, "Meals", 2.5, "y"),
    Grade(THIRD, "Lunch", 7, "y"),
    Grade(SECOND, "Yes.", 4, "y"),
]
SHARES = [1 / 6, 3 / 6, 4 / 6]  # of grades that are at most 1, 2.5 and 4


def rows_of(grades: Sequence[Grade]) -> list[GradedRow]:
    with TemporaryDirectory() as folder:
        return list(graded_rows(grades, TEMPLATE, max_length=100, run=MemoryRun(Path(folder))))


def scale_of(model: ScalarModel, rows: Sequence[GradedRow]) -> GradeScale:
    return GradeScale((grade.score for row in rows for grade in row.grades), width=model.head.in_features)


def train(
    model: ScalarModel, scale: GradeScale, rows: Sequence[GradedRow], run: MemoryRun, **options: Any
) -> tuple[float, float]:
    return train_on_labels(model, rows, run, objective=on_grades(model, scale), **options)


# The scale -----------------------------------------------------------------------------------------------------------


def test_a_scale_starts_where_the_shares_of_the_grades_are() -> None:
    """Of four grades 1, 1, 5 and 2, half are at most 1 and three quarters at most 2: log-odds 0 and log 3.

    For scores of 0 nothing fits better: the gradient in the thresholds is 0.
    """
    scale = GradeScale([1, 1, 5, 2], width=32)
    assert scale.grades == [1, 2, 5]
    assert scale.thresholds().tolist() == pytest.approx([0, math.log(3)], abs=1e-6)
    assert [scale.level(grade) for grade in (1, 2, 5)] == [0, 1, 2]
    levels = torch.tensor([0, 0, 2, 1])
    cumulative_logit_loss(torch.zeros(4), levels, scale.thresholds(), normalizer=4).loss.backward()
    (numbers,) = scale.parameters().values()
    assert numbers.grad is not None
    assert numbers.grad.abs().max() < 1e-6


def test_thresholds_stay_in_order_wherever_their_numbers_go() -> None:
    scale = GradeScale(range(6), width=8)
    (numbers,) = scale.parameters().values()
    with torch.no_grad():
        numbers.normal_(generator=torch.Generator().manual_seed(0))
    assert (scale.thresholds().diff() > 0).all()


def test_grades_that_are_all_alike_teach_nothing() -> None:
    with pytest.raises(DataError, match="every grade is 3: there is nothing to learn"):
        GradeScale([3, 3.0], width=8)


def test_a_saved_scale_says_the_same_of_normalised_scores(tmp_path: Path) -> None:
    """Scores of mean 2 and deviation 4 become (score - 2) / 4; the probabilities of grades stay what they were."""
    scale = GradeScale([1, 1, 5, 2], width=32)
    scale.save(tmp_path, mean=2.0, deviation=4.0)
    saved = json.loads((tmp_path / SCALE_FILE).read_text())
    assert saved["grades"] == [1, 2, 5]
    for score in (-1.0, 0.0, 3.0):
        normalised = (score - 2) / 4
        found = [sigmoid(saved["steepness"] * (threshold - normalised)) for threshold in saved["thresholds"]]
        assert found == pytest.approx([sigmoid(0 - score), sigmoid(math.log(3) - score)], abs=1e-6)


# Weights -------------------------------------------------------------------------------------------------------------


def loss_by_hand(model: ScalarModel, weight: Tensor | None = None) -> float:
    """Mean over prompts of the mean over their responses of the mean over each one's grades."""
    thresholds = [math.log(share / (1 - share)) for share in SHARES]
    losses: dict[Prompt, dict[str, list[float]]] = {}
    for one in GRADES:
        loss = cumulative_logit(
            plain_score(model, one.prompt, one.response, weight), [1, 2.5, 4, 7].index(one.score), thresholds
        )
        losses.setdefault(one.prompt, {}).setdefault(one.response, []).append(loss)
    means = [[math.fsum(several) / len(several) for several in of_prompt.values()] for of_prompt in losses.values()]
    return math.fsum(math.fsum(of_prompt) / len(of_prompt) for of_prompt in means) / 3


def check_weights(folder: Path) -> None:
    """The first step's loss and its gradient in the head, in some directions, from plain forwards."""
    model, run = scalar_model(), MemoryRun(folder)
    weight = model.head.weight.detach()[0].double()
    directions = torch.randn(3, len(weight), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-4
    expected = loss_by_hand(model)
    slopes = [
        (loss_by_hand(model, weight + step * d) - loss_by_hand(model, weight - step * d)) / (2 * step)
        for d in directions
    ]
    rows = rows_of(GRADES)
    with gradients_of() as caught:
        train(model, scale_of(model, rows), rows, run)
    (line,), (gradients,) = run.logged, caught
    assert line["reward_model/loss"] == pytest.approx(expected, abs=1e-4)
    found = directions @ gradients["scalar_head.weight"][0].double()
    torch.testing.assert_close(found, torch.tensor(slopes, dtype=torch.float64), atol=1e-4, rtol=1e-3)


def test_every_prompt_weighs_one_and_so_does_every_response_in_it(tmp_path: Path) -> None:
    check_weights(tmp_path)


def check_cut(folder: Path) -> None:
    gradients = []
    rows = rows_of(GRADES)
    for max_tokens in (SMALL, LARGE):
        with gradients_of() as caught:
            model = scalar_model()
            settings = replace(OPTIMIZER, micro_batch_tokens=max_tokens)
            train(model, scale_of(model, rows), rows, MemoryRun(folder), settings=settings)
        gradients.append(caught)
    assert_same_gradients(*gradients)


def test_cutting_a_batch_changes_no_gradient(tmp_path: Path) -> None:
    check_cut(tmp_path)


# Learning ------------------------------------------------------------------------------------------------------------


def graded(start: int, stop: int) -> list[Grade]:
    """One graded response a question, so that no two can be compared: 4 the first verdict, 1 the last."""
    return [
        Grade(question, f"{amount} EUR. {VERDICTS[amount % 4]}", 4.0 - amount % 4)
        for amount, question in enumerate(prompts(stop)[start:], start=start)
    ]


def check_learning(folder: Path) -> None:
    """On new questions scores rise with the grade, and the learnt thresholds tell the grades apart."""
    model, run = scalar_model(), MemoryRun(folder)
    seen = rows_of(graded(0, 32))
    scale = scale_of(model, seen)
    first = scale.thresholds().tolist()
    mean, deviation = train(model, scale, seen, run, num_epochs=12, prompts_per_step=8, normalize=True)
    assert run.logged[-1]["reward_model/loss"] < 0.5 < run.logged[0]["reward_model/loss"]
    assert scale.thresholds()[-1] - scale.thresholds()[0] > first[-1] - first[0] + 0.5
    unseen = graded(32, 48)
    found = model.score_rows([row.row for row in rows_of(unseen)], pad_id=TEMPLATE.pad_id, max_tokens=LARGE)
    thresholds = ((scale.thresholds().detach() - mean) / deviation).tolist()
    grades = [1 + sum(score.item() > threshold for threshold in thresholds) for score in found]
    assert grades == [one.score for one in unseen]
    scores = torch.cat(model.score_rows([row.row for row in seen], pad_id=TEMPLATE.pad_id, max_tokens=SMALL))
    assert scores.mean().item() == pytest.approx(0, abs=1e-4)
    assert scores.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_an_order_is_learnt_from_single_grades_and_generalises(tmp_path: Path) -> None:
    check_learning(tmp_path)


# Resume --------------------------------------------------------------------------------------------------------------


def lora(run: MemoryRun) -> dict[str, Tensor]:
    """The scale is as exactly resumed as the model beside it."""
    return _trained(scalar_model(dropout=True), run)


def full(run: MemoryRun) -> dict[str, Tensor]:
    return _trained(ScalarModel.fresh(tiny_policy().trunk, adapter=None, seed=0), run)


def _trained(model: ScalarModel, run: MemoryRun) -> dict[str, Tensor]:
    rows = rows_of(GRADES)
    scale = scale_of(model, rows)
    mean, deviation = train(model, scale, rows, run, num_epochs=3, prompts_per_step=2, normalize=True)
    trained = tensors_of(model.trainable_parameters(), scale.parameters())
    return trained | {"normalised from": torch.tensor([mean, deviation])}


@pytest.mark.parametrize("loop", [lora, full])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    check_resume(loop, tmp_path, stops=range(1, 6))
