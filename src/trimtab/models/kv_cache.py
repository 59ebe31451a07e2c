"""Keys and values of running sequences, in memory that is allocated once and used again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COLUMN_STEP = 16


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts that a model has read: what attention needs of them, and the logits of each one's next token.

    `keys` and `values` hold one tensor a layer, `[P, kv_heads, L, head_dim]`, right padded; `logits` is `[P, V]`.
    """

    keys: Sequence[Tensor]
    values: Sequence[Tensor]
    logits: Tensor

    @property
    def columns(self) -> int:
        """Positions that were read, padding included."""
        return self.keys[0].shape[2]

    def followed_by(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values of its one prompt, and after them those of every prompt that goes on from it."""
        own_keys, own_values = (part.expand(len(keys), -1, -1, -1) for part in (self.keys[layer], self.values[layer]))
        return torch.cat([own_keys, keys], 2), torch.cat([own_values, values], 2)


class KeyValueCache:
    """One row a running sequence, one column a position, one pair of tensors a layer.

    Keys lie as `[rows, kv_heads, head_dim, columns]`, the way a product of queries and keys reads them fastest; values
    as `[rows, kv_heads, columns, head_dim]`. There are no more columns than the sequences need, so that what is read is
    contiguous: products of anything else would copy it, in every step. `fit` lays out anew as sequences grow.

    Rows in use are always the first ones. A column past a row's length holds zeros or what an earlier sequence left
    there: finite numbers, which attention must mask.
    """

    def __init__(self) -> None:
        self.columns = 0
        self._keys: list[_Layer] = []
        self._values: list[_Layer] = []

    def reserve(self, rows: int, columns: int, like: Prefill) -> None:
        """Make room for this many rows of up to so many columns; what was there is lost.

        `like` shows the shape of a layer's keys and values.
        """
        most = _in_steps(columns)
        self.columns = _in_steps(like.columns)
        if not self._keys or not all(
            own.has_room(rows, most, new) for own, new in zip(self._values, like.values, strict=True)
        ):
            self._keys = [_Layer(rows, most, key, columns_last=True) for key in like.keys]
            self._values = [_Layer(rows, most, value, columns_last=False) for value in like.values]

    def fit(self, needed: int, rows: int) -> int:
        """Lay the first rows out such that `needed` columns are there and few more; returns how many there are."""
        columns = _in_steps(needed)
        if columns > self.columns or columns <= self.columns - 2 * COLUMN_STEP:
            for layer in (*self._keys, *self._values):
                layer.lay_out_anew(rows, self.columns, columns)
            self.columns = columns
        return self.columns

    def write(self, layer: int, keys: Tensor, values: Tensor, rows: Tensor, columns: Tensor) -> None:
        """Store one position a row: `[n, kv_heads, head_dim]` into `columns[i]` of row `rows[i]`."""
        own_keys, own_values = self.read(layer, len(rows))
        own_keys[rows, :, :, columns] = keys.to(own_keys.dtype)
        own_values[rows, :, columns] = values.to(own_values.dtype)

    def read(self, layer: int, rows: int) -> tuple[Tensor, Tensor]:
        """Views of the first rows: keys `[n, kv_heads, head_dim, columns]`, values with the last two exchanged."""
        return self._keys[layer].view(rows, self.columns), self._values[layer].view(rows, self.columns)

    def insert(self, start: int, prefill: Prefill, sources: Tensor) -> None:
        """Copy prompts `sources` of a prefill into the rows from `start` on."""
        stop, columns = start + len(sources), prefill.columns
        if columns > self.columns:
            self.fit(columns, start)
        for layer, (read_keys, read_values) in enumerate(zip(prefill.keys, prefill.values, strict=True)):
            keys, values = self.read(layer, stop)
            keys[start:, ..., :columns] = read_keys[sources].transpose(2, 3)
            values[start:, :, :columns] = read_values[sources]

    def move(self, sources: Tensor, targets: Tensor) -> None:
        """Copy some rows over others."""
        rows = int(torch.maximum(sources, targets).max()) + 1
        for layer in range(len(self._keys)):
            for part in self.read(layer, rows):
                part[targets] = part[sources]


class _Layer:
    """Memory of one layer's keys or values, seen as rows of as many columns as are asked for."""

    def __init__(self, rows: int, columns: int, like: Tensor, *, columns_last: bool) -> None:
        _, self.heads, _, self.head_dim = like.shape
        self.columns_last = columns_last
        # Zeros, not whatever is there: attention gives masked columns the weight 0, and 0 times NaN is NaN.
        self.memory = torch.zeros(rows * self.heads * columns * self.head_dim, dtype=like.dtype, device=like.device)

    def has_room(self, rows: int, columns: int, like: Tensor) -> bool:
        """Whether it can hold so much of what is like this."""
        _, heads, _, head_dim = like.shape
        return (
            (self.heads, self.head_dim) == (heads, head_dim)
            and (self.memory.dtype, self.memory.device) == (like.dtype, like.device)
            and self.memory.numel() >= rows * heads * columns * head_dim
        )

    def view(self, rows: int, columns: int) -> Tensor:
        """The first rows, each of `columns` columns."""
        last = (self.head_dim, columns) if self.columns_last else (columns, self.head_dim)
        shape = (rows, self.heads, *last)
        return self.memory[: math.prod(shape)].view(shape)

    def lay_out_anew(self, rows: int, old: int, new: int) -> None:
        """Give the first rows another number of columns; columns that are new hold zeros."""
        kept = min(old, new)
        before, after = self.view(rows, old), self.view(rows, new)
        if self.columns_last:
            before, after = before.transpose(2, 3), after.transpose(2, 3)
        copy = before[:, :, :kept].clone()
        after[:, :, :kept] = copy
        after[:, :, kept:] = 0


def _in_steps(columns: int) -> int:
    """A shape that is new to the kernels costs them ten milliseconds, so there are few."""
    return -(-columns // COLUMN_STEP) * COLUMN_STEP


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
