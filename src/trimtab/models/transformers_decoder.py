"""The generic decode forward: any transformers causal language model, over our own key-value cache.

The model computes as transformers wrote it. Only its cache is replaced, by one that appends to rows of different
lengths, and its mask, by one that says which columns of a row are filled.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from trimtab.errors import ModelError
from trimtab.models.kv_cache import KeyValueCache, Prefill, causal_mask, slot_mask


class TransformersDecoder:
    """The interface of `Decoder` on a model's own forward. Shares the model's weights, so there is nothing to load."""

    prefill_tokens = 1024

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self.load_weights(model)

    def accepts(self, model: nn.Module) -> bool:
        """Every model is taken."""
        return True

    def load_weights(self, model: Any) -> None:
        """Use this model, under the adapter that is active when it runs."""
        self._model = model
        self._config = model.config.get_text_config()

    def prefill(self, tokens: Tensor, lengths: Tensor, prefix: Prefill | None = None) -> Prefill:
        """Read prompts as `Decoder.prefill` does. Raises `ModelError` for models that keep more between tokens."""
        num_prompts, longest = tokens.shape
        cache = DynamicCache()
        before = prefix.columns if prefix is not None else 0
        for layer, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True) if prefix else ()):
            cache.update(*(part.expand(num_prompts, -1, -1, -1) for part in (keys, values)), layer)
        masks = {w: causal_mask(before + longest, w, tokens.device)[before:] for w in self._windows()}
        windows = {w: mask.expand(num_prompts, 1, -1, -1) for w, mask in masks.items()}
        positions = torch.arange(before, before + longest, device=tokens.device).expand(num_prompts, -1)
        last = lengths - 1
        logits = self._forward(tokens, positions, windows, cache)[torch.arange(num_prompts, device=last.device), last]
        layers = [layer for layer in cache.layers if getattr(layer, "keys", None) is not None]
        if len(layers) != self._config.num_hidden_layers:
            raise ModelError(
                f"{type(self._model).__name__} keeps more than keys and values between tokens (or none), which "
                "trimtab's generation does not support. Choose a model with attention in every layer"
            )
        return Prefill([layer.keys for layer in layers], [layer.values for layer in layers], logits)

    def decode(self, cache: KeyValueCache, tokens: Tensor, lengths: Tensor, longest: int) -> Tensor:
        """Append one token `[n]` to each of the first n rows, which hold `lengths` `[n]` tokens (at most `longest`).

        Returns the logits of what comes next, `[n, V]`, float32.
        """
        columns = cache.fit(longest + 1, len(tokens))
        windows = {w: slot_mask(lengths, columns, w)[:, None, None] for w in self._windows()}
        slots = _SlotCache(cache, lengths)
        return self._forward(tokens[:, None], lengths[:, None], windows, slots)[:, 0]

    def _windows(self) -> set[int | None]:
        """How far back layers see; None is all the way."""
        window = getattr(self._config, "sliding_window", None)
        if window is None or not getattr(self._config, "use_sliding_window", True):
            return {None}
        layer_types = getattr(self._config, "layer_types", None)
        if not layer_types:
            return {window}
        return {window if kind == "sliding_attention" else None for kind in layer_types}

    def _forward(self, tokens: Tensor, positions: Tensor, masks: dict[int | None, Tensor], cache: Any) -> Tensor:
        biases = {window: self._as_bias(mask) for window, mask in masks.items()}
        mask: Any = next(iter(biases.values()))
        if len(biases) > 1:
            sliding = next(bias for window, bias in biases.items() if window is not None)
            mask = {"full_attention": biases[None], "sliding_attention": sliding}
        autocast: AbstractContextManager[Any] = nullcontext()
        if self._dtype != torch.float32:
            autocast = torch.autocast(tokens.device.type, self._dtype)
        with autocast:
            output = self._model(
                input_ids=tokens, position_ids=positions, attention_mask=mask, past_key_values=cache, use_cache=True
            )
        return output.logits.float()

    def _as_bias(self, allowed: Tensor) -> Tensor:
        """Fused attention takes booleans; the others add a number to the scores."""
        if self._config._attn_implementation == "sdpa":
            return allowed
        bias = torch.zeros(allowed.shape, dtype=self._dtype, device=allowed.device)
        return bias.masked_fill(~allowed, torch.finfo(self._dtype).min)


class _SlotCache(DynamicCache):
    """What a transformers model takes for its cache during one decode step: the first n rows of ours."""

    def __init__(self, cache: KeyValueCache, lengths: Tensor) -> None:
        super().__init__()
        self._cache, self._lengths = cache, lengths
        self._rows = torch.arange(len(lengths), device=lengths.device)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        """Store the new token's keys and values `[n, kv_heads, 1, head_dim]` and return those of all columns."""
        self._cache.write(layer_idx, key_states[:, :, 0], value_states[:, :, 0], self._rows, self._lengths)
        keys, values = self._cache.read(layer_idx, len(self._rows))
        return keys.transpose(2, 3), values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many columns there are before this step's."""
        return self._cache.columns - 1
