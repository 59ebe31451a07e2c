"""Reward model: a score for every response such that better ones score higher (Bradley-Terry)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.algorithms.output import LossOutput, reduce
from trimtab.algorithms.preference import bradley_terry_loss
from trimtab.models.rows import RowBatch, TokenRow, lay_out, response_slices
from trimtab.models.scalar_model import ScalarModel
from trimtab.seeds import mix
from trimtab.training.batches import epoch_batches, shuffled_pass
from trimtab.training.row_files import PreferenceRow
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import OptimizerSettings, accumulate, learning_rate, make_optimizer, update

NORMALISING_PROMPTS = 64


def train_reward_model(
    model: ScalarModel,
    rows: Sequence[PreferenceRow],
    *,
    settings: OptimizerSettings,
    num_epochs: int,
    prompts_per_step: int,
    max_steps: int | None,
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
    parameters = model.trainable_parameters()
    optimizer = make_optimizer(parameters.values(), settings)
    checkpoint = Checkpoint(run, parameters, [optimizer], every_seconds=checkpoint_seconds)
    batches = epoch_batches(len(rows), prompts_per_step, num_epochs, seed=seed)[:max_steps]

    start, _ = checkpoint.restore()
    drawn = shuffled_pass(len(rows), seed, -1)[:NORMALISING_PROMPTS].tolist() if normalize else []
    sample = [rows[index].row for index in drawn]
    if start == 0:
        _normalise(model, sample, pad_id, settings.micro_batch_tokens)
    for step in range(start, len(batches)):
        began = time.perf_counter()
        torch.manual_seed(mix(seed, step))
        batch = [rows[index] for index in batches[step]]

        def loss_of(indices: list[int], batch: list[PreferenceRow] = batch) -> LossOutput:
            chunk = [batch[i] for i in indices]
            laid = lay_out([row.row for row in chunk], pad_id=pad_id, device=model.trunk.device)
            return preference_loss(model, chunk, laid, centering=centering, normalizer=len(batch))

        where = f"reward model step {step + 1}"
        metrics = accumulate(
            [row.row for row in batch],
            loss_of,
            max_tokens=settings.micro_batch_tokens,
            where=where,
            dump=run.state / "bad_batch.json",
        )
        rate = learning_rate(step, len(batches), settings)
        norm = update(optimizer, parameters, rate=rate, max_grad_norm=settings.max_grad_norm, where=where)

        numbers = reduce(metrics)
        seconds = time.perf_counter() - began
        run.log(
            {"step": step + 1, **numbers, "optim/grad_norm": norm, "optim/learning_rate": rate, "time/step": seconds}
        )
        run.progress("reward model", step + 1, len(batches), accuracy=numbers["reward_model/accuracy"])
        checkpoint.step_done(step + 1, len(batches))
    _normalise(model, sample, pad_id, settings.micro_batch_tokens)


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
