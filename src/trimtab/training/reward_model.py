"""Reward model: a score for every response such that better ones score higher (Bradley-Terry)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.algorithms.output import LossOutput
from trimtab.algorithms.preference import bradley_terry_loss
from trimtab.models.rows import RowBatch, TokenRow, lay_out, response_slices
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.batches import shuffled_pass
from trimtab.training.passes import Passes, train_in_passes
from trimtab.training.row_files import PreferenceRow
from trimtab.training.run import Run
from trimtab.training.step import MicroBatchLoss, OptimizerSettings

NORMALISING_PROMPTS = 64


def train_reward_model(
    model: ScalarModel,
    rows: Sequence[PreferenceRow],
    *,
    passes: Passes,
    settings: OptimizerSettings,
    centering: float,
    normalize: bool,
    seed: int,
    checkpoint_seconds: float,
    pad_id: int,
    run: Run,
) -> None:
    """Train a scalar model in place on comparisons.

    Every prompt weighs the same, however many of its responses were compared (InstructGPT, equation 1). With
    `normalize`, scores of the responses to 64 prompts drawn from the data get mean 0 and deviation 1, before and after
    (N-details, item 9).
    Raises `NumericsError` and `Interrupted`.
    """
    drawn = shuffled_pass(len(rows), seed, -1)[:NORMALISING_PROMPTS].tolist() if normalize else []
    sample = [rows[index].row for index in drawn]

    def set_scale() -> None:
        _normalise(model, sample, pad_id, settings.micro_batch_tokens)

    def loss_of_batch(batch: Sequence[PreferenceRow]) -> MicroBatchLoss:
        def loss(indices: list[int]) -> LossOutput:
            chunk = [batch[i] for i in indices]
            laid = lay_out([row.row for row in chunk], pad_id=pad_id, device=model.trunk.device)
            return preference_loss(model, chunk, laid, centering=centering, normalizer=len(batch))

        return loss

    train_in_passes(
        "reward model",
        model.trainable_parameters(),
        rows,
        loss_of_batch,
        row_of=lambda item: item.row,
        passes=passes,
        settings=settings,
        show={"accuracy": "reward_model/accuracy"},
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        run=run,
        before=set_scale,
    )
    set_scale()


def preference_loss(
    model: ScalarModel, rows: Sequence[PreferenceRow], laid: RowBatch, *, centering: float, normalizer: float
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


def _normalise(model: ScalarModel, rows: Sequence[TokenRow], pad_id: int, max_tokens: int) -> None:
    if rows:
        scores = torch.cat(model.score_rows(rows, pad_id=pad_id, max_tokens=max_tokens))
        model.normalise(scores.mean().item(), scores.std(unbiased=False).item())
