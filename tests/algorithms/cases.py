"""Random ragged batches, and what the tests say about losses: value, gradient, equality to 1e-6.

Padding holds NaN unless a test says otherwise: whoever reads it is found out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trimtab.algorithms.output import LossOutput

RAGGED = (3, 0, 5, 1, 2)
"""The lengths with which a check catches a mutant: several, one empty, one full."""

seeds = st.integers(0, 2**32 - 1)
ragged_lengths = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def many(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test of `(lengths, seed)` on many ragged batches."""
    return few_examples(given(lengths=ragged_lengths, seed=seeds)(test))


few_examples = settings(max_examples=25, deadline=None)


def mask_of(lengths: Sequence[int], width: int | None = None) -> Tensor:
    """The mask `[R, T]` of responses of these lengths."""
    return torch.arange(max(lengths) if width is None else width) < torch.tensor(lengths)[:, None]


def random_tensors(mask: Tensor, count: int, seed: int, *, padding: float = math.nan) -> list[Tensor]:
    """Standard normal float64 tensors of the mask's shape; padding is filled with `padding`."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(mask.shape, generator=generator, dtype=torch.float64).masked_fill(~mask, padding)
        for _ in range(count)
    ]


def random_vector(size: int, seed: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def repadded(tensor: Tensor, mask: Tensor, width: int, padding: float) -> Tensor:
    """The same responses at another width, with other padding."""
    wide = torch.full((len(tensor), width), padding, dtype=tensor.dtype)
    for row, source, keep in zip(wide, tensor, mask, strict=True):
        row[: int(keep.sum())] = source[keep]
    return wide


def responses(tensor: Tensor, mask: Tensor) -> list[list[float]]:
    """Without padding: one list of numbers a response."""
    return [row[keep].tolist() for row, keep in zip(tensor, mask, strict=True)]


def tokens(*tensors: Tensor, mask: Tensor) -> list[Any]:
    """Real tokens in order, each as its numbers in all the tensors."""
    return list(zip(*(tensor[mask].tolist() for tensor in tensors), strict=True))


def padded(lists: Iterable[Sequence[float]], width: int) -> Tensor:
    """Lists of numbers as `[R, T]`, zeros in padding."""
    return torch.tensor([[*numbers, *[0.0] * (width - len(numbers))] for numbers in lists], dtype=torch.float64)


def assert_equal(actual: Any, expected: Any, *, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Equality of numbers, lists or tensors, shapes included; NaN equals nothing."""
    actual, expected = (
        x.detach().double() if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)
        for x in (actual, expected)
    )
    torch.testing.assert_close(actual, expected.reshape(actual.shape), rtol=rtol, atol=atol)


def loss_and_gradients(loss_of: Callable[..., LossOutput], *tensors: Tensor) -> tuple[LossOutput, list[Tensor]]:
    """A loss and its gradient in each tensor."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    output = loss_of(*leaves)
    gradients = torch.autograd.grad(output.loss, leaves, allow_unused=True, materialize_grads=True)
    return output, list(gradients)
