"""Pieces of a transformer layer with backward passes of their own: fewer passes over memory, less kept for later.

Products run in the dtype of their inputs; norms and rotations are computed in float32 (float64 for float64), then
rounded once. Shapes: N tokens as rows, `[N, D]`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu


def rms_norm(hidden: Tensor, weight: Tensor, *, epsilon: float, offset: float, dtype: torch.dtype) -> Tensor:
    """hidden / rms(hidden) * (weight + offset) over the last dimension, in `dtype` (Zhang and Sennrich 2019, eq. 4)."""
    return _RMSNorm.apply(hidden, weight, epsilon, offset, dtype)


def linear(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    rounded: Tensor,
    lora: tuple[Tensor, Tensor, Tensor, float] | None = None,
) -> Tensor:
    """inputs W' + bias, plus LoRA's scale (x A') B' (Hu et al. 2021, equation 3).

    `rounded` is `weight` in the dtype of the inputs; gradients go to `weight`. `lora` is (x, A, B, scale), where x is
    the inputs or what dropout left of them.
    """
    if lora is None:
        return _Linear.apply(inputs, weight, bias, rounded, None, None, None, 0.0)
    x, a, b, scale = lora
    return _Linear.apply(inputs, weight, bias, rounded, None if x is inputs else x, a, b, scale)


def rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021): `[B, L, H, d]` to `[B, H, L, d]`; `cos`, `sin` `[B, 1, L, d / 2]`.

    The pair (a, b) of the first and the second half becomes (a cos - b sin, b cos + a sin).
    """
    return _Rotate.apply(heads, cos, sin)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020, equation 6)."""
    return _SwiGLU.apply(gate, up)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, epsilon: float, offset: float, dtype: torch.dtype) -> Tensor:
        working = torch.promote_types(hidden.dtype, torch.float32)
        x, scale = hidden.to(working), weight.to(working) + offset
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        rate = torch.rsqrt(size.square_() / x.shape[-1] + epsilon)
        ctx.save_for_backward(hidden, weight, rate)
        ctx.offset = offset
        return torch.mul(x * rate, scale, out=torch.empty(hidden.shape, dtype=dtype, device=hidden.device))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden, weight, rate = ctx.saved_tensors
        x = hidden.to(rate.dtype)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            columns = tuple(range(grad.ndim - 1))
            grad_weight = ((x * rate).mul_(grad)).sum(columns).to(weight.dtype)
        direction = (grad * (weight.to(rate.dtype) + ctx.offset)).to(rate.dtype)
        along = torch.linalg.vecdot(direction, x).unsqueeze(-1) * rate.pow(3) / x.shape[-1]
        return direction.mul_(rate).addcmul_(x, along, value=-1).to(hidden.dtype), grad_weight, None, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rounded: Tensor,
        lora_inputs: Tensor | None,
        a: Tensor | None,
        b: Tensor | None,
        scale: float,
    ) -> Tensor:
        outputs = inputs @ rounded.t() if bias is None else torch.addmm(bias.to(inputs.dtype), inputs, rounded.t())
        narrow = None
        if a is not None and b is not None:
            a, b = a.to(inputs.dtype), b.to(inputs.dtype)
            narrow = (inputs if lora_inputs is None else lora_inputs) @ a.t()
            outputs.addmm_(narrow, b.t(), alpha=scale)
        ctx.save_for_backward(inputs, rounded, lora_inputs, narrow, a, b)
        ctx.scale = scale
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, rounded, lora_inputs, narrow, a, b = ctx.saved_tensors
        needs_inputs, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_inputs = grad @ rounded if needs_inputs else None
        grad_weight = grad.t() @ inputs if needs_weight else None
        grad_bias = grad.sum(0) if needs_bias else None
        grad_lora_inputs = grad_a = grad_b = None
        if narrow is not None:
            grad_narrow = (grad @ b).mul_(ctx.scale)
            grad_a = grad_narrow.t() @ (inputs if lora_inputs is None else lora_inputs)
            grad_b = (grad.t() @ narrow).mul_(ctx.scale)
            if lora_inputs is not None:
                grad_lora_inputs = grad_narrow @ a
            elif grad_inputs is not None:
                grad_inputs.addmm_(grad_narrow, a)
        return grad_inputs, grad_weight, grad_bias, None, grad_lora_inputs, grad_a, grad_b, None


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(heads.transpose(1, 2), cos, sin, heads.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, -sin, grad.dtype).transpose(1, 2), None, None


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype) -> Tensor:
    first, second = heads.to(torch.promote_types(dtype, torch.float32)).chunk(2, dim=-1)
    rotated = torch.empty(heads.shape, dtype=dtype, device=heads.device)
    half = first.shape[-1]
    rotated[..., :half] = (first * cos).addcmul_(second, sin, value=-1)
    rotated[..., half:] = (second * cos).addcmul_(first, sin)
    return rotated


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), silu(gate).mul_(grad)
