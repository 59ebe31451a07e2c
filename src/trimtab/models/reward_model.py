"""What scores responses, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from trimtab.errors import ModelError
from trimtab.models.rows import TokenRow


class RewardModel(Protocol):
    """Gives every response of a row one number, higher for better ones."""

    def score_rows(self, rows: Sequence[TokenRow], *, pad_id: int, max_tokens: int) -> list[Tensor]:
        """Scores of every response without gradients: one tensor a row, in the order of the rows."""

    def save(self, folder: Path) -> None:
        """Write what `is_reward_model` knows again."""


def unit_scale(mean: float, std: float) -> tuple[float, float]:
    """Gain and bias that bring scores of this mean and deviation to mean 0 and deviation 1.

    Raises `ModelError` when the scores were all the same.
    """
    if not std > 0:
        raise ModelError("the reward model gives every response the same score, so it cannot be normalised")
    return 1 / std, -mean / std
