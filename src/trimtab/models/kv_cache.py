"""Keys and values of running sequences, in memory that is allocated once and used again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COLUMNS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts that a model has read: what attention needs of them, and the logits of each one's next token.

    `keys` and `values` hold one tensor a layer, `[P, kv_heads, L, head_dim]`, right padded; `logits` is `[P, V]`.
    """

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    logits: Tensor


class KeyValueCache:
    """One row a running sequence, one column a position, one pair of tensors a layer.

    Keys lie as `[rows, kv_heads, head_dim, columns]`, the way a product of queries and keys reads them fastest; values
    as `[rows, kv_heads, columns, head_dim]`.

    Rows in use are always the first ones. A column past a row's length holds zeros or what an earlier sequence left
    there: finite numbers, which attention must mask.
    """

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def reserve(self, rows: int, columns: int, like: Prefill) -> None:
        """Make room; what was there may be lost. `like` shows the shape of a layer's keys and values."""
        if self.keys and self._fits(rows, columns, like):
            return
        columns = -(-columns // COLUMNS_AT_ONCE) * COLUMNS_AT_ONCE
        self.keys = [_zeros(rows, columns, key).transpose(2, 3).contiguous() for key in like.keys]
        self.values = [_zeros(rows, columns, value) for value in like.values]

    def write(self, layer: int, keys: Tensor, values: Tensor, rows: Tensor, columns: Tensor) -> None:
        """Store one position a row: `[n, kv_heads, head_dim]` into `columns[i]` of row `rows[i]`."""
        self.keys[layer][rows, :, :, columns] = keys.to(self.keys[layer].dtype)
        self.values[layer][rows, :, columns] = values.to(self.values[layer].dtype)

    def read(self, layer: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Views of the first rows and columns: keys `[n, kv_heads, head_dim, columns]`, values with the last two
        exchanged."""
        return self.keys[layer][:rows, ..., :columns], self.values[layer][:rows, :, :columns]

    def insert(self, start: int, prefill: Prefill, sources: Tensor) -> None:
        """Copy prompts `sources` of a prefill into the rows from `start` on."""
        stop, columns = start + len(sources), prefill.keys[0].shape[2]
        for keys, values, read_keys, read_values in zip(
            self.keys, self.values, prefill.keys, prefill.values, strict=True
        ):
            keys[start:stop, ..., :columns] = read_keys[sources].transpose(2, 3)
            values[start:stop, :, :columns] = read_values[sources]

    def move(self, sources: Tensor, targets: Tensor, columns: int) -> None:
        """Copy the first columns of some rows over others."""
        for keys, values in zip(self.keys, self.values, strict=True):
            keys[targets, ..., :columns] = keys[sources, ..., :columns]
            values[targets, :, :columns] = values[sources, :, :columns]

    def _fits(self, rows: int, columns: int, like: Prefill) -> bool:
        return all(
            own.dtype == new.dtype
            and own.device == new.device
            and own.shape[0] >= rows
            and own.shape[1] == new.shape[1]
            and own.shape[2] >= columns
            and own.shape[3] == new.shape[3]
            for own, new in zip(self.values, like.values, strict=True)
        )


def causal_mask(length: int, window: int | None, device: torch.device) -> Tensor:
    """Which positions a position sees, `[L, L]`: itself and those before it, within the window if there is one."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position
    allowed = distance >= 0
    return allowed if window is None else allowed & (distance < window)


def slot_mask(lengths: Tensor, columns: int, window: int | None) -> Tensor:
    """Which columns a row's newest token sees, `[n, columns]`, when it stands at column `lengths[i]` itself."""
    distance = lengths[:, None] - torch.arange(columns, device=lengths.device)
    allowed = distance >= 0
    return allowed if window is None else allowed & (distance < window)


def _zeros(rows: int, columns: int, like: Tensor) -> Tensor:
    _, heads, _, head_dim = like.shape
    return torch.zeros(rows, heads, columns, head_dim, dtype=like.dtype, device=like.device)
