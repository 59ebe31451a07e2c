"""A broadcast that nobody asked for is a wrong loss that looks right; the algorithms refuse it."""

from __future__ import annotations

from torch import Tensor


def require_same_shape(**tensors: Tensor) -> None:
    """Raise `ValueError` naming the shapes unless all are equal."""
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"these tensors must have one shape: {shapes}")
