"""DPO: learn from comparisons directly, without a reward model and without sampling (Rafailov et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trimtab.algorithms.dpo import dpo_loss, implicit_rewards
from trimtab.algorithms.output import LossOutput
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import lay_out, response_slices
from trimtab.training.passes import Passes, train_in_passes
from trimtab.training.row_files import PreferenceRow
from trimtab.training.run import Run
from trimtab.training.step import MicroBatchLoss, OptimizerSettings


def train_dpo(
    policy: Policy,
    reference: Reference,
    rows: Sequence[PreferenceRow],
    *,
    passes: Passes,
    settings: OptimizerSettings,
    beta: float,
    seed: int,
    checkpoint_seconds: float,
    run: Run,
) -> None:
    """Train the policy in place on comparisons; every comparison of a batch weighs the same.

    The reference reads each batch just before the policy learns from it, on the same rows, and is never stored.
    Raises `NumericsError` and `Interrupted`.
    """

    def loss_of_batch(batch: Sequence[PreferenceRow]) -> MicroBatchLoss:
        num_pairs = sum(len(row.pairs) for row in batch)

        def loss(indices: list[int]) -> LossOutput:
            return preference_loss(policy, reference, [batch[i] for i in indices], beta=beta, normalizer=num_pairs)

        return loss

    train_in_passes(
        "dpo",
        policy.trainable_parameters(),
        rows,
        loss_of_batch,
        row_of=lambda item: item.row,
        passes=passes,
        settings=settings,
        show={"accuracy": "dpo/accuracy"},
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        run=run,
    )


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
