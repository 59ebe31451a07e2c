"""What scores responses, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from trimtab.models.rows import TokenRow


class RewardModel(Protocol):
    """Gives every response of a row one number, higher for better ones."""

    def score_rows(self, rows: Sequence[TokenRow], *, pad_id: int, max_tokens: int) -> list[Tensor]:
        """Scores of every response without gradients: one tensor a row, in the order of the rows."""
