"""A GGUF file of a Llama model's weights, without its tokenizer: llama.cpp is given token ids."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(model: Path, file: Path, kind: str) -> None:
    """Write the weights in the folder `model`: matrices in `kind` (f32, f16, bf16), vectors in f32."""
    import gguf

    config = json.loads((model / "config.json").read_text())
    if config["model_type"] != "llama":
        raise ValueError(f"only Llama models are written for llama.cpp, and this is a {config['model_type']}")
    writer = gguf.GGUFWriter(file, "llama")
    _describe(writer, config)
    for name, tensor in _tensors(model):
        data, matrix_type = tensor, gguf.GGMLQuantizationType[kind.upper()]
        place = _place(name)
        if ".attn_q." in place or ".attn_k." in place:
            heads = config["num_attention_heads" if ".attn_q." in place else "num_key_value_heads"]
            data = _permute(data, heads)
        if data.ndim == 1:
            writer.add_tensor(place, data)
        else:
            writer.add_tensor(place, gguf.quants.quantize(data, matrix_type), raw_dtype=matrix_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: dict[str, Any]) -> None:
    head_size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    writer.add_rope_dimension_count(head_size)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")


def _tensors(model: Path) -> Any:
    """Names and float32 arrays of all weights."""
    from safetensors import safe_open

    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                yield name, tensors.get_tensor(name).float().numpy()


def _place(name: str) -> str:
    """llama.cpp's name of a weight."""
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    _, _, layer, *middle, end = name.split(".")
    return f"blk.{layer}.{NAMES['.'.join(middle)]}.{end}"


def _permute(weight: Any, heads: int) -> Any:
    """Rows of a query or key projection in the order in which llama.cpp rotates pairs: (0, 1), (2, 3), ..."""
    return weight.reshape(heads, 2, -1, weight.shape[-1]).swapaxes(1, 2).reshape(weight.shape)


if __name__ == "__main__":
    write_gguf(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
