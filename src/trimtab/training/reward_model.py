"""Reward model: a score for every response such that better ones score higher, from comparisons or rankings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from trimtab.algorithms.output import LossOutput
from trimtab.algorithms.preference import bradley_terry_loss, plackett_luce_loss
from trimtab.models.rows import RowBatch, TokenRow, lay_out, response_slices
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.batches import shuffled_pass
from trimtab.training.passes import Passes, train_in_passes
from trimtab.training.row_files import PreferenceRow, RankedRow
from trimtab.training.run import Run
from trimtab.training.step import MicroBatchLoss, OptimizerSettings

NORMALISING_PROMPTS = 64


class Judged(Protocol):
    """A prompt with its responses, and what people said of them."""

    @property
    def row(self) -> TokenRow:
        """Their tokens."""


Item = TypeVar("Item", bound=Judged)


@dataclass(frozen=True, slots=True)
class Objective(Generic[Item]):
    """What labels of a kind ask of the scores.

    `loss` takes rows, their layout and the number of prompts in the whole batch. `parameters` are learnt beside the
    model's. `show` says which metrics the progress has, under which names.
    """

    loss: Callable[[Sequence[Item], RowBatch, int], LossOutput]
    parameters: Mapping[str, nn.Parameter] = field(default_factory=dict)
    show: Mapping[str, str] = field(default_factory=lambda: {"accuracy": "reward_model/accuracy"})


def on_comparisons(model: ScalarModel, *, centering: float) -> Objective[PreferenceRow]:
    """Bradley-Terry, by `preference_loss`."""
    return Objective(partial(preference_loss, model, centering=centering))


def on_rankings(model: ScalarModel) -> Objective[RankedRow]:
    """Place by place (Plackett-Luce), by `ranking_loss`."""
    return Objective(partial(ranking_loss, model))


def train_reward_model(
    model: ScalarModel,
    rows: Sequence[Item],
    objective: Objective[Item],
    *,
    passes: Passes,
    settings: OptimizerSettings,
    normalize: bool,
    seed: int,
    checkpoint_seconds: float,
    pad_id: int,
    run: Run,
) -> tuple[float, float]:
    """Train a scalar model in place on what people said.

    Every prompt weighs the same, however many of its responses were judged (InstructGPT, equation 1). With `normalize`,
    scores of the responses to 64 prompts drawn from the data get mean 0 and deviation 1, before and after (N-details,
    item 9). Returns the mean and the deviation that scores had before they were normalised for the last time, or 0 and
    1. Raises `NumericsError` and `Interrupted`.
    """
    drawn = shuffled_pass(len(rows), seed, -1)[:NORMALISING_PROMPTS].tolist() if normalize else []
    sample = [rows[index].row for index in drawn]

    def set_scale() -> None:
        _normalise(model, sample, pad_id, settings.micro_batch_tokens)

    def loss_of_batch(batch: Sequence[Item]) -> MicroBatchLoss:
        def loss(indices: list[int]) -> LossOutput:
            chunk = [batch[i] for i in indices]
            laid = lay_out([item.row for item in chunk], pad_id=pad_id, device=model.trunk.device)
            return objective.loss(chunk, laid, len(batch))

        return loss

    train_in_passes(
        "reward model",
        {**model.trainable_parameters(), **objective.parameters},
        rows,
        loss_of_batch,
        row_of=lambda item: item.row,
        passes=passes,
        settings=settings,
        show=objective.show,
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        run=run,
        before=set_scale,
    )
    return _normalise(model, sample, pad_id, settings.micro_batch_tokens)


def preference_loss(
    model: ScalarModel, rows: Sequence[PreferenceRow], laid: RowBatch, normalizer: float, *, centering: float
) -> LossOutput:
    """Bradley-Terry loss over every pair of the given rows, each row weighing 1 in all."""
    scores = model.scores(laid, train=True)
    starts = [piece.start for piece in response_slices([row.row for row in rows])]
    pairs = [(start, pair, 1 / len(row.pairs)) for start, row in zip(starts, rows, strict=True) for pair in row.pairs]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, device=scores.device)

    return bradley_terry_loss(
        scores[[start + pair.chosen for start, pair, _ in pairs]],
        scores[[start + pair.rejected for start, pair, _ in pairs]],
        probability=column([pair.probability for _, pair, _ in pairs]),
        margin=column([pair.margin for _, pair, _ in pairs]),
        weights=column([weight for _, _, weight in pairs]),
        centering=centering,
        normalizer=normalizer,
    )


def ranking_loss(model: ScalarModel, rows: Sequence[RankedRow], laid: RowBatch, normalizer: float) -> LossOutput:
    """Plackett-Luce loss over every ranking of the given rows, each row weighing 1 in all."""
    scores = model.scores(laid, train=True)
    starts = [piece.start for piece in response_slices([row.row for row in rows])]
    places, ranks, groups, weights, before = [], [], [], [], 0
    for start, row in zip(starts, rows, strict=True):
        num_rankings = 1 + max(placed.ranking for placed in row.places)
        for placed in row.places:
            places.append(start + placed.response)
            ranks.append(placed.rank)
            groups.append(before + placed.ranking)
            weights.append(1 / num_rankings)
        before += num_rankings
    return plackett_luce_loss(
        scores[places],
        torch.tensor(ranks, device=scores.device),
        torch.tensor(groups, device=scores.device),
        weights=torch.tensor(weights, device=scores.device),
        normalizer=normalizer,
    )


def _normalise(model: ScalarModel, rows: Sequence[TokenRow], pad_id: int, max_tokens: int) -> tuple[float, float]:
    """Normalise by the scores of these rows; the mean and deviation that they had. Without rows nothing is done."""
    if not rows:
        return 0.0, 1.0
    scores = torch.cat(model.score_rows(rows, pad_id=pad_id, max_tokens=max_tokens))
    mean, std = scores.mean().item(), scores.std(unbiased=False).item()
    model.normalise(mean, std)
    return mean, std
