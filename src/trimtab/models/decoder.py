"""A plain decode forward for known families, over our own key-value cache.

The residual stream, norms and rotations are float32 whatever the dtype of the weights, as they are in training; matrix
products run in the weights' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import embedding, scaled_dot_product_attention

from trimtab.models.attention import attend
from trimtab.models.decoder_weights import LayerWeights, read_weights
from trimtab.models.families import Family, causal_lm, is_supported
from trimtab.models.kv_cache import KeyValueCache, Prefill, causal_mask, slot_mask

# Layer, scaled queries [N, heads, head_dim], keys and values [N, kv_heads, head_dim] -> [N, heads * head_dim].
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Decoder:
    """Reads prompts and decodes one token a sequence, with its own copy of a model's weights.

    The copy is in `dtype`; `load_weights` refreshes it. Make one with `decoder_for`, which knows what is supported.
    """

    prefill_tokens = 1024  # matrix products are as fast as they get from about 500 tokens on

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        model = causal_lm(model)
        self._family = Family.of(model)
        self._dtype = dtype
        self._shapes = _shapes(model)
        self._epsilon = torch.tensor(self._family.epsilon, device=model.device)
        self.load_weights(model)

    def accepts(self, model: nn.Module) -> bool:
        """Whether `load_weights` can take this model."""
        return is_supported(model) and _shapes(causal_lm(model)) == self._shapes

    def load_weights(self, model: Any) -> None:
        """Copy the model's weights as they are now, an active LoRA adapter merged in."""
        model = causal_lm(model)
        self._weights = read_weights(model, self._dtype, norm_offset=self._family.norm_offset)
        scale = getattr(model.get_decoder().embed_tokens, "embed_scale", None)  # of a Gemma
        self._embed_scale = None if scale is None else scale.to(self._dtype).float()

    def prefill(self, tokens: Tensor, lengths: Tensor, prefix: Prefill | None = None) -> Prefill:
        """Read prompts `[P, L]`, right padded, of `lengths` `[P]`; after what one prompt of `prefix` says, if given.

        The keys and values that it returns begin with the prefix's.
        """
        num_prompts, longest = tokens.shape
        before = prefix.columns if prefix is not None else 0
        positions = torch.arange(before, before + longest, device=tokens.device).expand(num_prompts, -1)
        masks = {w: causal_mask(before + longest, w, tokens.device)[before:] for w in set(self._family.windows)}
        biases = {w: self._bias(mask)[None, None] for w, mask in masks.items()}
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def read(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            q, k, v = (part.unflatten(0, (num_prompts, longest)).transpose(1, 2) for part in (query, key, value))
            if prefix is not None:
                k, v = prefix.followed_by(layer, k, v)
            keys.append(k)
            values.append(v)
            attended = attend(q, k, v, biases[self._family.windows[layer]])
            return attended.transpose(1, 2).reshape(num_prompts * longest, -1)

        hidden = self._forward(tokens.flatten(), positions.flatten(), read)
        last = torch.arange(num_prompts, device=tokens.device) * longest + lengths - 1
        return Prefill(keys, values, self._logits(hidden[last]))

    def decode(self, cache: KeyValueCache, tokens: Tensor, lengths: Tensor, longest: int) -> Tensor:
        """Append one token `[n]` to each of the first n rows, which hold `lengths` `[n]` tokens (at most `longest`).

        Returns the logits of what comes next, `[n, V]`, float32.
        """
        rows, columns = torch.arange(len(tokens), device=tokens.device), cache.fit(longest + 1, len(tokens))
        family = self._family
        groups, biases = family.num_queries // family.num_keys, {}
        for window in set(family.windows):
            bias = self._bias(slot_mask(lengths, columns, window))[:, None, None]
            biases[window] = bias.expand(-1, family.num_keys, groups, -1).reshape(-1, groups, columns)

        def read(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write(layer, key, value, rows, lengths)
            keys, values = cache.read(layer, len(tokens))
            # Query heads that share keys are rows of one product: keys are read once and never expanded.
            grouped = query.reshape(len(tokens), family.num_keys, groups, -1)
            bias = biases[family.windows[layer]]
            if len(tokens) == 1:  # batched products take longer to set up than one sequence takes to compute
                keys = keys.transpose(2, 3).contiguous()
                attended = scaled_dot_product_attention(grouped, keys, values, attn_mask=bias[None], scale=1.0)
            else:
                scores = torch.baddbmm(bias, grouped.flatten(0, 1), keys.flatten(0, 1))
                attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1))
            return attended.view(len(tokens), -1)

        return self._logits(self._forward(tokens, lengths, read))

    def _bias(self, allowed: Tensor) -> Tensor:
        """What is added to scores: 0 where a token sees another, -inf elsewhere."""
        return torch.zeros(allowed.shape, dtype=self._dtype, device=allowed.device).masked_fill_(~allowed, -torch.inf)

    def _forward(self, tokens: Tensor, positions: Tensor, read: Attend) -> Tensor:
        """Final hidden states `[N, D]` of tokens `[N]` at positions `[N]`, before the last norm."""
        family = self._family
        hidden = embedding(tokens, self._weights.embedding).float()
        if self._embed_scale is not None:
            hidden *= self._embed_scale
        rotations = {kind: self._rotation(positions, kind) for kind in set(family.rope_types)}
        for index, layer in enumerate(self._weights.layers):
            query, key, value = self._project(layer, hidden, rotations[family.rope_types[index]])
            attended = layer.out(read(index, query, key, value))
            if family.norms_outputs:
                attended = self._norm(attended.float(), layer.norms["post_attention_layernorm"])
            hidden += attended
            normed = self._norm(hidden, layer.norms[family.feed_forward_norm]).to(self._dtype)
            gate, up = layer.gate_up(normed).chunk(2, dim=-1)
            moved = layer.down(family.activation(gate).mul_(up))
            if family.norms_outputs:
                moved = self._norm(moved.float(), layer.norms["post_feedforward_layernorm"])
            hidden += moved
        return hidden

    def _project(self, layer: LayerWeights, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Rotated and scaled queries, rotated keys, and values: `[N, heads, head_dim]` each."""
        family = self._family
        heads = layer.qkv(self._norm(hidden, layer.norms["input_layernorm"]).to(self._dtype))
        heads = heads.view(len(hidden), -1, family.head_dim)
        num_rotated = family.num_queries + family.num_keys
        rotated = heads[:, :num_rotated].float()
        if layer.head_norm is not None:
            rotated = self._norm(rotated, layer.head_norm)
        cos, signed_sin = rotation
        rotated = torch.addcmul(rotated * cos, rotated.roll(family.head_dim // 2, dims=-1), signed_sin).to(self._dtype)
        return rotated[:, : family.num_queries], rotated[:, family.num_queries :], heads[:, num_rotated:]

    def _rotation(self, positions: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """Cosines and sines for queries and keys, `[N, heads, head_dim]`; sines of the first half are negated.

        Rotating a pair (a, b) gives (a cos - b sin, b cos + a sin): x * cos + swapped(x) * signed sin. Those of queries
        are multiplied by the scale of scores.
        """
        cos, sin = (part[0] for part in self._family.rotation(positions[None], kind))
        half = self._family.head_dim // 2
        signed = torch.cat([-sin[:, :half], sin[:, half:]], dim=-1)
        scales = torch.ones(self._family.num_queries + self._family.num_keys, 1, device=positions.device)
        scales[: self._family.num_queries] = self._family.scale
        return cos[:, None] * scales, signed[:, None] * scales

    def _norm(self, rows: Tensor, scale: Tensor) -> Tensor:
        """RMS norm over the last dimension (Zhang and Sennrich 2019, equation 4), in float32."""
        size = vector_norm(rows, dim=-1, keepdim=True)
        rate = torch.addcmul(self._epsilon, size, size, value=1 / rows.shape[-1]).rsqrt_()
        return (rows * rate).mul_(scale)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self._weights.head(self._norm(hidden, self._weights.norm).to(self._dtype)).float()
        cap = self._family.logit_cap
        return logits if cap is None else torch.tanh(logits / cap) * cap


def decoder_for(model: nn.Module, dtype: torch.dtype = torch.float32) -> Decoder | None:
    """A decoder with the model's weights, PEFT-wrapped or not, or None for a model it does not know how to compute."""
    return Decoder(model, dtype) if is_supported(model) else None


def _shapes(model: Any) -> tuple[Any, ...]:
    """What must agree for one model's weights to take the place of another's."""
    embedding = model.get_decoder().embed_tokens.weight
    is_tied = model.get_output_embeddings().weight is embedding
    return type(model), model.config.to_dict(), embedding.device, tuple(embedding.shape), is_tied
