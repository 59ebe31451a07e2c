"""The forward pass of known families over rows, written out: what training and scoring spend nearly all their time in.

It reads a transformers model's own parameters, LoRA adapters included, and computes what that model computes. Compared
with the model's own forward under autocast, activations are rounded once instead of before every product, weights are
rounded once a step instead of once a micro-batch, and less is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from trimtab.models.attention import attend
from trimtab.models.families import Family, active_adapters, is_silu
from trimtab.models.fused import linear, rms_norm, rotate, swiglu


class RowForward(nn.Module):
    """Final hidden states `[B, L, D]`, after the last norm. `dtype` is what matrix products run in.

    The residual stream, norms and rotations are float32 at least, whatever the dtype of the weights.
    """

    def __init__(self, decoder: Any, family: Family, dtype: torch.dtype) -> None:
        super().__init__()
        self.decoder = decoder
        self.family = family
        self._dtype = dtype
        self._rounded: dict[nn.Parameter, tuple[int, Tensor]] = {}

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products run in: float64 for a model in float64."""
        return torch.float64 if self.decoder.embed_tokens.weight.dtype == torch.float64 else self._dtype

    def forward(self, input_ids: Tensor, positions: Tensor, biases: dict[int | None, Tensor]) -> Tensor:
        """`input_ids` and `positions` `[B, L]`; `biases`: for each window of the family what is added to scores."""
        family, shape = self.family, input_ids.shape
        embedded = self.decoder.embed_tokens(input_ids)
        hidden = embedded.to(torch.promote_types(embedded.dtype, torch.float32)).flatten(0, 1)
        rotations = {kind: self._rotation(positions, kind) for kind in set(family.rope_types)}
        for layer, window, kind in zip(self.decoder.layers, family.windows, family.rope_types, strict=True):
            attended = self._attention(layer, hidden, shape, rotations[kind], biases[window])
            if family.norms_outputs:
                attended = self._norm(attended, layer.post_attention_layernorm, hidden.dtype)
            hidden = hidden + attended
            moved = self._feed_forward(layer, hidden)
            if family.norms_outputs:
                moved = self._norm(moved, layer.post_feedforward_layernorm, hidden.dtype)
            hidden = hidden + moved
        return self._norm(hidden, self.decoder.norm, hidden.dtype).view(*shape, -1)

    def _attention(
        self, layer: Any, hidden: Tensor, shape: torch.Size, rotation: tuple[Tensor, ...], bias: Tensor
    ) -> Tensor:
        attention, family = layer.self_attn, self.family
        cos, sin, scaled_cos, scaled_sin = rotation
        normed = self._norm(hidden, layer.input_layernorm, self.dtype)
        query, key, value = (
            self._linear(projection, normed).view(*shape, -1, family.head_dim)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if hasattr(attention, "q_norm"):
            query = self._norm(query, attention.q_norm, self.dtype)
            key = self._norm(key, attention.k_norm, self.dtype)
        query, key = rotate(query, scaled_cos, scaled_sin), rotate(key, cos, sin)
        attended = attend(query, key, value.transpose(1, 2), bias)
        return self._linear(attention.o_proj, attended.transpose(1, 2).reshape(len(hidden), -1))

    def _feed_forward(self, layer: Any, hidden: Tensor) -> Tensor:
        normed = self._norm(hidden, getattr(layer, self.family.feed_forward_norm), self.dtype)
        gate, up = self._linear(layer.mlp.gate_proj, normed), self._linear(layer.mlp.up_proj, normed)
        product = swiglu(gate, up) if is_silu(self.family.activation) else self.family.activation(gate) * up
        return self._linear(layer.mlp.down_proj, product)

    def _norm(self, hidden: Tensor, norm: Any, dtype: torch.dtype) -> Tensor:
        hidden = hidden.float() if hidden.dtype == torch.float64 else hidden  # as transformers does
        return rms_norm(hidden, norm.weight, epsilon=self.family.epsilon, offset=self.family.norm_offset, dtype=dtype)

    def _linear(self, module: Any, inputs: Tensor) -> Tensor:
        base = module if type(module) is nn.Linear else module.get_base_layer()
        lora = None
        for name in active_adapters(module):  # one at most: a trunk switches between them
            share = module.lora_dropout[name]
            x = dropout(inputs, share.p) if isinstance(share, nn.Dropout) and share.training else inputs
            lora = (x, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])
        return linear(inputs, base.weight, base.bias, rounded=self._round(base.weight), lora=lora)

    def _round(self, weight: Tensor) -> Tensor:
        """The weight in the dtype of products, rounded again only when it has changed."""
        if weight.dtype == self.dtype:
            return weight.detach()
        if not isinstance(weight, nn.Parameter):  # lent for one call
            return weight.to(self.dtype)
        version, rounded = self._rounded.get(weight, (-1, None))
        if rounded is None or version != weight._version:
            rounded = weight.detach().to(self.dtype)
            self._rounded[weight] = (weight._version, rounded)
        return rounded

    def _rotation(self, positions: Tensor, kind: str) -> tuple[Tensor, ...]:
        """Cosines and sines `[B, 1, L, d / 2]`, and the same times the scale of scores, for queries."""
        cos, sin = (part[:, None, :, : self.family.head_dim // 2] for part in self.family.rotation(positions, kind))
        return cos, sin, cos * self.family.scale, sin * self.family.scale
