"""Supervised fine-tuning: raise the probability of demonstrated responses, prompt tokens left out of the loss."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.algorithms.output import LossOutput
from trimtab.algorithms.sft import sft_loss
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow, lay_out
from trimtab.training.passes import Passes, train_in_passes
from trimtab.training.run import Run
from trimtab.training.step import MicroBatchLoss, OptimizerSettings


def train_sft(
    policy: Policy,
    rows: Sequence[TokenRow],
    *,
    passes: Passes,
    settings: OptimizerSettings,
    seed: int,
    checkpoint_seconds: float,
    run: Run,
) -> None:
    """Train the policy in place on the responses of rows; every response token of a batch weighs the same.

    Raises `NumericsError` and `Interrupted`.
    """

    def loss_of_batch(batch: Sequence[TokenRow]) -> MicroBatchLoss:
        num_tokens = sum(len(response) for row in batch for response in row.responses)

        def loss(indices: list[int]) -> LossOutput:
            laid = lay_out([batch[i] for i in indices], pad_id=policy.template.pad_id, device=policy.trunk.device)
            return sft_loss(policy.logprobs(laid, train=True), laid.mask, normalizer=num_tokens)

        return loss

    train_in_passes(
        "fine-tuning",
        policy.trainable_parameters(),
        rows,
        loss_of_batch,
        row_of=lambda row: row,
        passes=passes,
        settings=settings,
        show={"loss": "sft/loss"},
        seed=seed,
        checkpoint_seconds=checkpoint_seconds,
        run=run,
    )
