"""The model families whose forward pass trimtab writes out itself: what their layers are made of.

Llama, Mistral, Qwen 2, Qwen 3 and Gemma 3 are one architecture with a few switches. `Family` holds the switches; the
decoder that generates and the forward pass that trains both follow it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

NAMES = {
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Gemma3ForCausalLM",
}


@dataclass(frozen=True, slots=True)
class Family:
    """The shape of every layer of a model. `windows`: how far back each layer sees, None is all the way.

    `norms_outputs`: what attention and feed-forward give is normed before it joins the residual stream. `norm_offset`
    is added to the scales of norms. `rope_types` names each layer's kind of rotation.
    """

    head_dim: int
    num_queries: int
    num_keys: int
    scale: float
    epsilon: float
    activation: Callable[[Tensor], Tensor]
    windows: tuple[int | None, ...]
    rope_types: tuple[str, ...]
    norms_outputs: bool
    norm_offset: float
    logit_cap: float | None
    rotary: nn.Module

    @classmethod
    def of(cls, model: Any) -> Family:
        """The family of a transformers model for which `is_supported` holds."""
        model = causal_lm(model)
        config, decoder = model.config, model.get_decoder()
        attention, mlp = decoder.layers[0].self_attn, decoder.layers[0].mlp
        is_gemma = type(model).__name__ == "Gemma3ForCausalLM"
        return cls(
            head_dim=attention.head_dim,
            num_queries=attention.q_proj.out_features // attention.head_dim,
            num_keys=attention.k_proj.out_features // attention.head_dim,
            scale=attention.scaling,
            epsilon=config.rms_norm_eps,
            activation=mlp.act_fn,
            windows=_windows(config),
            rope_types=tuple(config.layer_types) if is_gemma else ("",) * config.num_hidden_layers,
            norms_outputs=is_gemma,
            norm_offset=1.0 if is_gemma else 0.0,
            logit_cap=getattr(config, "final_logit_softcapping", None),
            rotary=copy.deepcopy(decoder.rotary_emb),  # some kinds of it change as sequences grow
        )

    @property
    def feed_forward_norm(self) -> str:
        """The name of the norm before the feed-forward part of a layer."""
        return "pre_feedforward_layernorm" if self.norms_outputs else "post_attention_layernorm"

    def rotation(self, positions: Tensor, rope_type: str) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding of positions `[..., L]`: `[..., L, head_dim]`, float32."""
        like = torch.empty(0, dtype=torch.float32, device=positions.device)
        return self.rotary(like, positions, **({"layer_type": rope_type} if rope_type else {}))


def is_supported(model: Any) -> bool:
    """Whether a model is of a known family in its usual form, with plain linear layers or plain LoRA around them."""
    model = causal_lm(model)
    if type(model).__name__ not in NAMES or not type(model).__module__.startswith("transformers."):
        return False
    config = model.config
    known = {"full_attention", "sliding_attention"}
    if getattr(config, "use_bidirectional_attention", False) or not known.issuperset(_layer_types(config)):
        return False
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    if type(head) is not nn.Linear or head.bias is not None or not isinstance(decoder.embed_tokens, nn.Embedding):
        return False
    linears = [linear for layer in decoder.layers for parts in linears_of(layer) for linear in parts]
    return all(type(linear) is nn.Linear or _is_plain_lora(linear) for linear in linears)


def is_silu(activation: Callable[[Tensor], Tensor]) -> bool:
    """Whether an activation is x sigmoid(x)."""
    return isinstance(activation, nn.SiLU) or type(activation).__name__ == "SiLUActivation"


def causal_lm(model: Any) -> Any:
    """The transformers model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def linears_of(layer: Any) -> tuple[list[Any], ...]:
    """The linear layers of a decoder layer, those with the same input together: qkv, out, gate and up, down."""
    attention, mlp = layer.self_attn, layer.mlp
    return (
        [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    )


def active_adapters(linear: Any) -> list[str]:
    """The LoRA adapters that are switched on in a linear layer."""
    if type(linear) is nn.Linear or linear.disable_adapters or linear.merged:
        return []
    return [name for name in linear.active_adapters if name in linear.lora_A]


def _layer_types(config: Any) -> list[str]:
    return getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers


def _windows(config: Any) -> tuple[int | None, ...]:
    if config.model_type == "mistral":
        return (config.sliding_window,) * config.num_hidden_layers
    window = getattr(config, "sliding_window", None)
    return tuple(window if kind == "sliding_attention" else None for kind in _layer_types(config))


def _is_plain_lora(linear: Any) -> bool:
    from peft.tuners.lora import Linear

    return (
        type(linear) is Linear
        and type(linear.get_base_layer()) is nn.Linear
        and not linear.lora_variant
        and not linear.fan_in_fan_out
        and not any(module.bias is not None for module in linear.lora_B.values())
    )
