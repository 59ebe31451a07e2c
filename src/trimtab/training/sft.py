"""Supervised fine-tuning: raise the probability of demonstrated responses, prompt tokens left out of the loss."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from trimtab.algorithms.output import LossOutput, reduce
from trimtab.algorithms.sft import sft_loss
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow, lay_out
from trimtab.seeds import mix
from trimtab.training.batches import epoch_batches
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import OptimizerSettings, accumulate, learning_rate, make_optimizer, update


def train_sft(
    policy: Policy,
    rows: Sequence[TokenRow],
    *,
    settings: OptimizerSettings,
    num_epochs: int,
    batch_size: int,
    max_steps: int | None,
    seed: int,
    checkpoint_seconds: float,
    run: Run,
) -> None:
    """Train the policy in place on one response a row.

    The loss is the mean over response tokens of the whole batch (not of micro-batches), so that cutting a batch
    differently changes nothing. Raises `NumericsError` and `Interrupted`.
    """
    parameters = policy.trainable_parameters()
    optimizer = make_optimizer(parameters.values(), settings)
    checkpoint = Checkpoint(run, parameters, [optimizer], every_seconds=checkpoint_seconds)
    batches = epoch_batches(len(rows), batch_size, num_epochs, seed=seed)[:max_steps]

    start, _ = checkpoint.restore()
    for step in range(start, len(batches)):
        began = time.perf_counter()
        torch.manual_seed(mix(seed, step))
        batch = [rows[index] for index in batches[step]]
        num_tokens = sum(len(row.responses[0]) for row in batch)

        def loss_of(indices: list[int], batch: list[TokenRow] = batch, num_tokens: int = num_tokens) -> LossOutput:
            laid = lay_out([batch[i] for i in indices], pad_id=policy.template.pad_id, device=policy.trunk.device)
            return sft_loss(policy.logprobs(laid, train=True), laid.mask, normalizer=num_tokens)

        where = f"sft step {step + 1}"
        metrics = accumulate(
            batch, loss_of, max_tokens=settings.micro_batch_tokens, where=where, dump=run.state / "bad_batch.json"
        )
        rate = learning_rate(step, len(batches), settings)
        norm = update(optimizer, parameters, rate=rate, max_grad_norm=settings.max_grad_norm, where=where)

        numbers = reduce(metrics)
        seconds = time.perf_counter() - began
        run.log(
            {"step": step + 1, **numbers, "optim/grad_norm": norm, "optim/learning_rate": rate, "time/step": seconds}
        )
        run.progress("fine-tuning", step + 1, len(batches), loss=numbers["sft/loss"])
        checkpoint.step_done(step + 1, len(batches))
