"""A plain decode forward for the Llama, Mistral, Qwen 2, Qwen 3 and Gemma 3 families, over our own key-value cache.

Activations are `[features, tokens]`: one column a token. The residual stream, norms and rotations are float32 whatever
the dtype of the weights, as they are under autocast; matrix products run in the weights' dtype.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trimtab.models.decoder_weights import DecoderWeights, LayerWeights, allocate, is_readable, read_into
from trimtab.models.kv_cache import KeyValueCache, Prefill, causal_mask, slot_mask

FAMILIES = {
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Gemma3ForCausalLM",
}

# Layer index, queries, keys and values `[heads, head_dim, N]` to what attention gives, `[N, heads * head_dim]`.
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Decoder:
    """Reads prompts and decodes one token a sequence, with its own copy of a model's weights.

    The copy is in `dtype`; `load_weights` refreshes it. Make one with `decoder_for`, which knows what is supported.
    """

    prefill_tokens = 1024  # matrix products are as fast as they get from about 500 tokens on

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        model = _causal_lm(model)
        config, decoder = model.config, model.get_decoder()
        attention, mlp = decoder.layers[0].self_attn, decoder.layers[0].mlp
        self._is_gemma = type(model).__name__ == "Gemma3ForCausalLM"
        self._dtype, self._device = dtype, decoder.embed_tokens.weight.device
        self._head_dim: int = attention.head_dim
        self._num_keys: int = attention.k_proj.out_features // attention.head_dim
        self._num_queries: int = attention.q_proj.out_features // attention.head_dim
        self._scale: float = attention.scaling
        self._epsilon: float = config.rms_norm_eps
        self._activation: Callable[[Tensor], Tensor] = mlp.act_fn
        self._logit_cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._windows = _windows(config)
        self._rotary = copy.deepcopy(decoder.rotary_emb)  # some kinds of it change as sequences grow
        self._rope_types: list[str] = config.layer_types if self._is_gemma else ["all"] * config.num_hidden_layers
        self._shapes = _shapes(model)
        self._weights: DecoderWeights = allocate(model, dtype)
        self.load_weights(model)

    def accepts(self, model: nn.Module) -> bool:
        """Whether `load_weights` can take this model."""
        return is_supported(model) and _shapes(_causal_lm(model)) == self._shapes

    def load_weights(self, model: Any) -> None:
        """Copy the model's weights as they are now, an active LoRA adapter merged in, into the memory of the old."""
        model = _causal_lm(model)
        read_into(self._weights, model, norm_offset=1.0 if self._is_gemma else 0.0)
        embed = model.get_decoder().embed_tokens
        self._embed_scale = embed.embed_scale.to(self._dtype).float() if self._is_gemma else None

    def prefill(self, tokens: Tensor, lengths: Tensor) -> Prefill:
        """Read prompts `[P, L]`, right padded, of `lengths` `[P]`."""
        num_prompts, longest = tokens.shape
        positions = torch.arange(longest, device=tokens.device).expand(num_prompts, -1)
        masks = {w: None if w is None else causal_mask(longest, w, tokens.device) for w in set(self._windows)}
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            q, k, v = (part.unflatten(2, (num_prompts, longest)).permute(2, 0, 3, 1) for part in (query, key, value))
            keys.append(k.to(self._dtype, memory_format=torch.contiguous_format))
            values.append(v.to(self._dtype, memory_format=torch.contiguous_format))
            groups = self._num_queries // self._num_keys
            attended = functional.scaled_dot_product_attention(
                q.to(self._dtype, memory_format=torch.contiguous_format),
                keys[-1].repeat_interleave(groups, dim=1),
                values[-1].repeat_interleave(groups, dim=1),
                attn_mask=masks[self._windows[layer]],
                is_causal=self._windows[layer] is None,
                scale=self._scale,
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
        biases = {window: self._score_bias(lengths, columns, window) for window in set(self._windows)}

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write(layer, key.permute(2, 0, 1), value.permute(2, 0, 1), rows, lengths)
            seen_keys, seen_values = (part.flatten(0, 1) for part in cache.read(layer, len(tokens), columns))
            # Query heads that share keys are columns of one product: keys are read once and never expanded.
            grouped = query.unflatten(0, (self._num_keys, -1)).permute(3, 0, 2, 1).to(self._dtype)
            scores = torch.baddbmm(biases[self._windows[layer]], seen_keys, grouped.flatten(0, 1), alpha=self._scale)
            attended = torch.bmm(scores.softmax(1).transpose(1, 2), seen_values)
            return attended.view(len(tokens), -1)

        return self._logits(self._forward(tokens, lengths, attend))

    def _score_bias(self, lengths: Tensor, columns: int, window: int | None) -> Tensor:
        """0 where a sequence sees a column and -inf elsewhere, `[n * kv_heads, columns, groups]`."""
        allowed = slot_mask(lengths, columns, window)
        bias = torch.zeros(allowed.shape, dtype=self._dtype, device=allowed.device).masked_fill(~allowed, -torch.inf)
        groups = self._num_queries // self._num_keys
        return bias[:, None, :, None].expand(-1, self._num_keys, -1, groups).reshape(-1, columns, groups)

    def _forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Final hidden states `[D, N]` of tokens `[N]` at positions `[N]`, before the last norm."""
        hidden = functional.embedding(tokens, self._weights.embedding).float().t().contiguous()
        if self._embed_scale is not None:
            hidden *= self._embed_scale
        rotations = {kind: self._rotation(positions, kind) for kind in set(self._rope_types)}
        for index, layer in enumerate(self._weights.layers):
            query, key, value = self._project(layer, hidden, rotations[self._rope_types[index]])
            attended = layer.out(attend(index, query, key, value).t())
            feed_forward_norm = "post_attention_layernorm"
            if self._is_gemma:
                attended = self._norm(attended.float(), layer.norms["post_attention_layernorm"])
                feed_forward_norm = "pre_feedforward_layernorm"
            hidden += attended
            gate, up = layer.gate_up(self._norm(hidden, layer.norms[feed_forward_norm]).to(self._dtype)).chunk(2)
            moved = layer.down(self._activation(gate) * up)
            if self._is_gemma:
                moved = self._norm(moved.float(), layer.norms["post_feedforward_layernorm"])
            hidden += moved
        return hidden

    def _project(self, layer: LayerWeights, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> Sequence[Tensor]:
        """Rotated queries and keys, and values: `[heads, head_dim, N]` each."""
        heads = layer.qkv(self._norm(hidden, layer.norms["input_layernorm"]).to(self._dtype))
        heads = heads.view(-1, self._head_dim, hidden.shape[1])
        num_rotated = self._num_queries + self._num_keys
        rotated = heads[:num_rotated].float()
        if layer.head_norm is not None:
            rotated = self._norm(rotated, layer.head_norm)
        cos, signed_sin = rotation
        rotated = torch.addcmul(rotated * cos, rotated.roll(self._head_dim // 2, dims=1), signed_sin)
        return rotated[: self._num_queries], rotated[self._num_queries :], heads[num_rotated:]

    def _rotation(self, positions: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        """Cosines and sines of rotary embeddings `[head_dim, N]`; sines of the first half are negated.

        Rotating a pair (a, b) gives (a cos - b sin, b cos + a sin): x * cos + swapped(x) * signed sin.
        """
        typed = {"layer_type": kind} if self._is_gemma else {}
        like = torch.empty(0, dtype=torch.float32, device=self._device)
        cos, sin = (part[0].t().contiguous() for part in self._rotary(like, positions[None], **typed))
        sin[: self._head_dim // 2].neg_()
        return cos, sin

    def _norm(self, columns: Tensor, scale: Tensor) -> Tensor:
        """RMS norm over the last dimension but one (Zhang and Sennrich 2019, equation 4), in float32."""
        mean_square = columns.square().mean(-2, keepdim=True)
        return columns * torch.rsqrt(mean_square + self._epsilon) * scale

    def _logits(self, hidden: Tensor) -> Tensor:
        states = self._norm(hidden, self._weights.norm).to(self._dtype)
        logits = functional.linear(states.t().contiguous(), self._weights.head).float()
        return logits if self._logit_cap is None else torch.tanh(logits / self._logit_cap) * self._logit_cap


def decoder_for(model: nn.Module, dtype: torch.dtype = torch.float32) -> Decoder | None:
    """A decoder with the model's weights, PEFT-wrapped or not, or None for a model it does not know how to compute."""
    return Decoder(model, dtype) if is_supported(model) else None


def is_supported(model: Any) -> bool:
    """Whether the fast path computes this model: a known family in its usual form, with plain or LoRA weights."""
    model = _causal_lm(model)
    if type(model).__name__ not in FAMILIES or not type(model).__module__.startswith("transformers."):
        return False
    config = model.config
    known = {"full_attention", "sliding_attention"}
    if getattr(config, "use_bidirectional_attention", False) or not known.issuperset(_layer_types(config)):
        return False
    return is_readable(model)


def _layer_types(config: Any) -> list[str]:
    return getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers


def _windows(config: Any) -> list[int | None]:
    """How far back each layer sees; None is all the way."""
    if config.model_type == "mistral":
        return [config.sliding_window] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    return [window if kind == "sliding_attention" else None for kind in _layer_types(config)]


def _causal_lm(model: Any) -> Any:
    """The transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def _shapes(model: Any) -> tuple[Any, ...]:
    """What must agree for one model's weights to take the place of another's."""
    embedding = model.get_decoder().embed_tokens.weight
    is_tied = model.get_output_embeddings().weight is embedding
    return type(model), model.config.to_dict(), embedding.device, tuple(embedding.shape), is_tied
