"""A plain decode forward for known families, over our own key-value cache.

Activations are `[features, tokens]`: one column a token. The residual stream, norms and rotations are float32 whatever
the dtype of the weights, as they are under autocast; matrix products run in the weights' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab.models.decoder_weights import DecoderWeights, LayerWeights, allocate, read_into
from trimtab.models.families import Family, causal_lm, is_supported
from trimtab.models.kv_cache import KeyValueCache, Prefill, causal_mask, slot_mask

# Layer index, queries, keys and values `[heads, head_dim, N]` to what attention gives, `[N, heads * head_dim]`.
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Decoder:
    """Reads prompts and decodes one token a sequence, with its own copy of a model's weights.

    The copy is in `dtype`; `load_weights` refreshes it. Make one with `decoder_for`, which knows what is supported.
    """

    prefill_tokens = 1024  # matrix products are as fast as they get from about 500 tokens on

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        model = causal_lm(model)
        self._family = Family.of(model)
        self._dtype, self._device = dtype, model.get_decoder().embed_tokens.weight.device
        self._shapes = _shapes(model)
        self._weights: DecoderWeights = allocate(model, dtype)
        self.load_weights(model)

    def accepts(self, model: nn.Module) -> bool:
        """Whether `load_weights` can take this model."""
        return is_supported(model) and _shapes(causal_lm(model)) == self._shapes

    def load_weights(self, model: Any) -> None:
        """Copy the model's weights as they are now, an active LoRA adapter merged in, into the memory of the old."""
        model = causal_lm(model)
        read_into(self._weights, model, norm_offset=self._family.norm_offset)
        embed = model.get_decoder().embed_tokens
        scale = getattr(embed, "embed_scale", None)  # of a Gemma
        self._embed_scale = None if scale is None else scale.to(self._dtype).float()

    def prefill(self, tokens: Tensor, lengths: Tensor) -> Prefill:
        """Read prompts `[P, L]`, right padded, of `lengths` `[P]`."""
        num_prompts, longest = tokens.shape
        positions = torch.arange(longest, device=tokens.device).expand(num_prompts, -1)
        masks = {w: None if w is None else causal_mask(longest, w, tokens.device) for w in set(self._family.windows)}
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            q, k, v = (part.unflatten(2, (num_prompts, longest)).permute(2, 0, 3, 1) for part in (query, key, value))
            keys.append(k.to(self._dtype, memory_format=torch.contiguous_format))
            values.append(v.to(self._dtype, memory_format=torch.contiguous_format))
            groups = self._family.num_queries // self._family.num_keys
            attended = functional.scaled_dot_product_attention(
                q.to(self._dtype, memory_format=torch.contiguous_format),
                keys[-1].repeat_interleave(groups, dim=1),
                values[-1].repeat_interleave(groups, dim=1),
                attn_mask=masks[self._family.windows[layer]],
                is_causal=self._family.windows[layer] is None,
                scale=self._family.scale,
            )
            return attended.transpose(1, 2).reshape(num_prompts * longest, -1)

        hidden = self._forward(tokens.flatten(), positions.flatten(), attend)
        last = torch.arange(num_prompts, device=tokens.device) * longest + lengths - 1
        return Prefill(keys, values, self._logits(hidden[:, last]))

    def decode(self, cache: KeyValueCache, tokens: Tensor, lengths: Tensor, longest: int) -> Tensor:
        """Append one token `[n]` to each of the first n rows, which hold `lengths` `[n]` tokens (at most `longest`).

        Returns the logits of what comes next, `[n, V]`, float32.
        """
        rows, columns = torch.arange(len(tokens), device=tokens.device), longest + 1
        biases = {window: self._score_bias(lengths, columns, window) for window in set(self._family.windows)}

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write(layer, key.permute(2, 0, 1), value.permute(2, 0, 1), rows, lengths)
            seen_keys, seen_values = (part.flatten(0, 1) for part in cache.read(layer, len(tokens), columns))
            # Query heads that share keys are columns of one product: keys are read once and never expanded.
            grouped = query.unflatten(0, (self._family.num_keys, -1)).permute(3, 0, 2, 1).to(self._dtype)
            bias = biases[self._family.windows[layer]]
            scores = torch.baddbmm(bias, seen_keys, grouped.flatten(0, 1), alpha=self._family.scale)
            attended = torch.bmm(scores.softmax(1).transpose(1, 2), seen_values)
            return attended.view(len(tokens), -1)

        return self._logits(self._forward(tokens, lengths, attend))

    def _score_bias(self, lengths: Tensor, columns: int, window: int | None) -> Tensor:
        """0 where a sequence sees a column and -inf elsewhere, `[n * kv_heads, columns, groups]`."""
        allowed = slot_mask(lengths, columns, window)
        bias = torch.zeros(allowed.shape, dtype=self._dtype, device=allowed.device).masked_fill(~allowed, -torch.inf)
        groups = self._family.num_queries // self._family.num_keys
        return bias[:, None, :, None].expand(-1, self._family.num_keys, -1, groups).reshape(-1, columns, groups)

    def _forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Final hidden states `[D, N]` of tokens `[N]` at positions `[N]`, before the last norm."""
        hidden = functional.embedding(tokens, self._weights.embedding).float().t().contiguous()
        if self._embed_scale is not None:
            hidden *= self._embed_scale
        rotations = {kind: self._rotation(positions, kind) for kind in set(self._family.rope_types)}
        for index, layer in enumerate(self._weights.layers):
            query, key, value = self._project(layer, hidden, rotations[self._family.rope_types[index]])
            attended = layer.out(attend(index, query, key, value).t())
            if self._family.norms_outputs:
                attended = self._norm(attended.float(), layer.norms["post_attention_layernorm"])
            hidden += attended
            normed = self._norm(hidden, layer.norms[self._family.feed_forward_norm])
            gate, up = layer.gate_up(normed.to(self._dtype)).chunk(2)
            moved = layer.down(self._family.activation(gate) * up)
            if self._family.norms_outputs:
                moved = self._norm(moved.float(), layer.norms["post_feedforward_layernorm"])
            hidden += moved
        return hidden

    def _project(self, layer: LayerWeights, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Rotated queries and keys, and values: `[heads, head_dim, N]` each."""
        heads = layer.qkv(self._norm(hidden, layer.norms["input_layernorm"]).to(self._dtype))
        heads = heads.view(-1, self._family.head_dim, hidden.shape[1])
        num_rotated = self._family.num_queries + self._family.num_keys
        rotated = heads[:num_rotated].float()
        if layer.head_norm is not None:
            rotated = self._norm(rotated, layer.head_norm)
        cos, signed_sin = rotation
        rotated = torch.addcmul(rotated * cos, rotated.roll(self._family.head_dim // 2, dims=1), signed_sin)
        return rotated[: self._family.num_queries], rotated[self._family.num_queries :], heads[num_rotated:]

    def _rotation(self, positions: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """Cosines and sines of rotary embeddings `[head_dim, N]`; sines of the first half are negated.

        Rotating a pair (a, b) gives (a cos - b sin, b cos + a sin): x * cos + swapped(x) * signed sin.
        """
        cos, sin = (part[0].t().contiguous() for part in self._family.rotation(positions[None], kind))
        sin[: self._family.head_dim // 2].neg_()
        return cos, sin

    def _norm(self, columns: Tensor, scale: Tensor) -> Tensor:
        """RMS norm over the last dimension but one (Zhang and Sennrich 2019, equation 4), in float32."""
        mean_square = columns.square().mean(-2, keepdim=True)
        return columns * torch.rsqrt(mean_square + self._family.epsilon) * scale

    def _logits(self, hidden: Tensor) -> Tensor:
        states = self._norm(hidden, self._weights.norm).to(self._dtype)
        logits = functional.linear(states.t().contiguous(), self._weights.head).float()
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
