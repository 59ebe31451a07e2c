"""A decoder's weights in the form decoding wants: fused, in one dtype, with the active LoRA adapter merged in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimtab.models.families import active_adapters, linears_of

NORM_NAMES = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


@dataclass(frozen=True, slots=True)
class Projection:
    """`weight` `[out, in]` and, where the model has one, `bias` `[out, 1]`, of one or several stacked linear layers."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, columns: Tensor) -> Tensor:
        """`[in, N]` to `[out, N]`. Columns are tokens: CPU kernels multiply this way round 15 % to 40 % faster."""
        if self.bias is None:
            return torch.mm(self.weight, columns)
        return torch.addmm(self.bias, self.weight, columns)


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One decoder layer. `norms` are scales `[D, 1]` by the model's own names; `head_norm`: `[heads, head_dim, 1]`."""

    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection
    norms: dict[str, Tensor]
    head_norm: Tensor | None


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """All weights of a decoder. `head` is `embedding` itself where the model ties them."""

    embedding: Tensor
    layers: list[LayerWeights]
    norm: Tensor
    head: Tensor


def allocate(model: Any, dtype: torch.dtype) -> DecoderWeights:
    """Empty weights of the right shapes, on the model's device."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    embedding = torch.empty_like(decoder.embed_tokens.weight, dtype=dtype, requires_grad=False)
    is_tied = head.weight is decoder.embed_tokens.weight
    return DecoderWeights(
        embedding=embedding,
        layers=[_allocate_layer(layer, dtype) for layer in decoder.layers],
        norm=_empty_norm(decoder.norm),
        head=embedding if is_tied else torch.empty_like(head.weight, dtype=dtype, requires_grad=False),
    )


@torch.no_grad()
def read_into(weights: DecoderWeights, model: Any, *, norm_offset: float) -> None:
    """Copy the model's weights, with whatever adapter is active merged in. The model itself is left as it is."""
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    weights.embedding.copy_(decoder.embed_tokens.weight)
    if weights.head is not weights.embedding:
        weights.head.copy_(head.weight)
    _read_norm(weights.norm, decoder.norm, norm_offset)
    for own, layer in zip(weights.layers, decoder.layers, strict=True):
        projections = (own.qkv, own.out, own.gate_up, own.down)
        for projection, linears in zip(projections, linears_of(layer), strict=True):
            _read_projection(projection, linears)
        for name, scale in own.norms.items():
            _read_norm(scale, getattr(layer, name), norm_offset)
        if own.head_norm is not None:
            attention = layer.self_attn
            num_keys = attention.k_proj.out_features // attention.head_dim
            own.head_norm[:-num_keys] = attention.q_norm.weight.float()[:, None] + norm_offset
            own.head_norm[-num_keys:] = attention.k_norm.weight.float()[:, None] + norm_offset


def _allocate_layer(layer: Any, dtype: torch.dtype) -> LayerWeights:
    attention = layer.self_attn
    head_norm = None
    if hasattr(attention, "q_norm"):
        num_heads = (attention.q_proj.out_features + attention.k_proj.out_features) // attention.head_dim
        head_norm = torch.empty(num_heads, attention.head_dim, 1, device=attention.q_norm.weight.device)
    qkv, out, gate_up, down = (_allocate_projection(linears, dtype) for linears in linears_of(layer))
    norms = {name: _empty_norm(getattr(layer, name)) for name in NORM_NAMES if hasattr(layer, name)}
    return LayerWeights(qkv, out, gate_up, down, norms, head_norm)


def _allocate_projection(linears: Sequence[Any], dtype: torch.dtype) -> Projection:
    out, device = sum(linear.out_features for linear in linears), linears[0].weight.device
    weight = torch.empty(out, linears[0].in_features, dtype=dtype, device=device)
    return Projection(weight, None if linears[0].bias is None else torch.empty(out, 1, dtype=dtype, device=device))


def _empty_norm(norm: Any) -> Tensor:
    return torch.empty(len(norm.weight), 1, device=norm.weight.device)


def _read_norm(scale: Tensor, norm: Any, offset: float) -> None:
    scale.copy_(norm.weight.float()[:, None] + offset)


def _read_projection(projection: Projection, linears: Sequence[Any]) -> None:
    start = 0
    for linear in linears:
        stop = start + linear.out_features
        projection.weight[start:stop] = _effective_weight(linear)
        if projection.bias is not None:
            projection.bias[start:stop, 0] = linear.bias
        start = stop


def _effective_weight(linear: Any) -> Tensor:
    """W, or W + scale B A summed over the active adapters (Hu et al. 2021, equation 3)."""
    adapters = active_adapters(linear)
    if not adapters:
        return linear.weight
    weight = linear.weight.float()
    for name in adapters:
        lora_a, lora_b = linear.lora_A[name].weight.float(), linear.lora_B[name].weight.float()
        weight = torch.addmm(weight, lora_b, lora_a, alpha=linear.scaling[name])
    return weight
