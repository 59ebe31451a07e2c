"""DPO: learn from comparisons directly, without a reward model and without sampling (Rafailov et al. 2023)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from trimtab.algorithms.dpo import dpo_loss, implicit_rewards
from trimtab.algorithms.output import LossOutput, reduce
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import lay_out, response_slices
from trimtab.seeds import mix
from trimtab.training.batches import epoch_batches
from trimtab.training.encoding import PreferenceRow
from trimtab.training.run import Run
from trimtab.training.state import Checkpoint
from trimtab.training.step import OptimizerSettings, accumulate, learning_rate, make_optimizer, update


def train_dpo(
    policy: Policy,
    reference: Reference,
    rows: Sequence[PreferenceRow],
    *,
    settings: OptimizerSettings,
    num_epochs: int,
    prompts_per_step: int,
    max_steps: int | None,
    beta: float,
    seed: int,
    checkpoint_seconds: float,
    run: Run,
) -> None:
    """Train the policy in place on comparisons; every comparison of a batch weighs the same.

    The reference reads each batch just before the policy learns from it, on the same rows, and is never stored.
    Raises `NumericsError` and `Interrupted`.
    """
    parameters = policy.trainable_parameters()
    optimizer = make_optimizer(parameters.values(), settings)
    checkpoint = Checkpoint(run, parameters, [optimizer], every_seconds=checkpoint_seconds)
    batches = epoch_batches(len(rows), prompts_per_step, num_epochs, seed=seed)[:max_steps]

    start, _ = checkpoint.restore()
    for step in range(start, len(batches)):
        began = time.perf_counter()
        torch.manual_seed(mix(seed, step))
        batch = [rows[index] for index in batches[step]]
        num_pairs = sum(len(row.pairs) for row in batch)

        def loss_of(indices: list[int], batch: list[PreferenceRow] = batch, num_pairs: int = num_pairs) -> LossOutput:
            return preference_loss(policy, reference, [batch[i] for i in indices], beta=beta, normalizer=num_pairs)

        where = f"dpo step {step + 1}"
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
        run.progress("dpo", step + 1, len(batches), accuracy=numbers["dpo/accuracy"])
        checkpoint.step_done(step + 1, len(batches))


def preference_loss(
    policy: Policy, reference: Reference, rows: Sequence[PreferenceRow], *, beta: float, normalizer: float
) -> LossOutput:
    """DPO's loss over every pair of the given rows. Both responses of a pair share one computation of their prompt."""
    laid = lay_out([row.row for row in rows], pad_id=policy.template.pad_id, device=policy.trunk.device)
    ref_logprobs = reference(laid, 1.0)
    rewards = implicit_rewards(policy.logprobs(laid, train=True), ref_logprobs, laid.mask, beta=beta)
    starts = [piece.start for piece in response_slices([row.row for row in rows])]
    pairs = [(start, pair) for start, row in zip(starts, rows, strict=True) for pair in row.pairs]
    return dpo_loss(
        rewards[[start + pair.chosen for start, pair in pairs]],
        rewards[[start + pair.rejected for start, pair in pairs]],
        probability=torch.tensor([pair.probability for _, pair in pairs], device=rewards.device),
        normalizer=normalizer,
    )
