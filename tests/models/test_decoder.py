"""Both decoders, logit by logit, against transformers' own forward with its own cache.

The engine's tests look at the tokens that are drawn; here it is the whole distribution, and the weights behind it.
"""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.models.tiny import FAMILIES, VOCABULARY, tiny_model
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from trimtab.models.decoder import Decoder, decoder_for, is_supported
from trimtab.models.kv_cache import KeyValueCache
from trimtab.models.transformers_decoder import TransformersDecoder

PROMPTS = [[5, 6, 7], [8], list(range(9, 19)), [20, 21, 22, 23, 24, 25]]
STEPS = 9  # every family's window of 5 is exceeded, by the prompts or after them
CONTINUATIONS = torch.randint(3, VOCABULARY, (len(PROMPTS), STEPS), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def by_decoder(decoder: Decoder | TransformersDecoder) -> Tensor:
    """Logits after each prompt and after each token that is then appended, `[1 + STEPS, P, V]`."""
    lengths = torch.tensor([len(prompt) for prompt in PROMPTS])
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(prompt) for prompt in PROMPTS], batch_first=True)
    read = decoder.prefill(tokens, lengths)
    cache = KeyValueCache()
    cache.reserve(len(PROMPTS), int(lengths.max()) + STEPS, like=read)
    cache.insert(0, read, torch.arange(len(PROMPTS)))
    logits = [read.logits]
    for step in range(STEPS):
        logits.append(decoder.decode(cache, CONTINUATIONS[:, step], lengths + step, int(lengths.max()) + step))
    return torch.stack(logits)


@torch.no_grad()
def by_transformers(model: nn.Module) -> Tensor:
    """The same, one sequence after another, with the model's own cache."""
    sequences = []
    for prompt, continuation in zip(PROMPTS, CONTINUATIONS, strict=True):
        output = model(input_ids=torch.tensor([prompt]), use_cache=True)
        logits = [output.logits[0, -1]]
        for token in continuation:
            output = model(input_ids=token[None, None], past_key_values=output.past_key_values, use_cache=True)
            logits.append(output.logits[0, -1])
        sequences.append(torch.stack(logits))
    return torch.stack(sequences, dim=1)


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == torch.float32
    assert expected.abs().max() > 1
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(family: str) -> None:
    model = tiny_model(family)
    expected = by_transformers(model)
    decoder = decoder_for(model)
    assert isinstance(decoder, Decoder)
    assert_equal(by_decoder(decoder), expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_the_generic_decoder_equal_those_of_transformers(family: str, attention: str) -> None:
    model = tiny_model(family)
    expected = by_transformers(model)
    model.set_attn_implementation(attention)
    assert_equal(by_decoder(TransformersDecoder(model, torch.float32)), expected)


ROTATIONS = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": False}),
        ("llama", {"num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": False}),
        ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
        ("gemma3", {"final_logit_softcapping": 2.0, "query_pre_attn_scalar": 24}),
        ("mistral", {"sliding_window": None}),
        *[("llama", {"rope_parameters": {"rope_theta": 10_000.0} | rotation}) for rotation in ROTATIONS.values()],
    ],
    ids=["biases", "a key a head", "one key", "qwen3", "soft cap", "no window", *ROTATIONS],
)
def test_variants_of_a_family(family: str, changes: dict) -> None:
    model = tiny_model(family, **changes)
    decoder = decoder_for(model)
    assert decoder is not None
    assert_equal(by_decoder(decoder), by_transformers(model))


def adapted(family: str, **settings: object) -> nn.Module:
    """A model under PEFT with two stirred adapters, the first of them active."""
    config = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear"} | settings
    model = get_peft_model(tiny_model(family), LoraConfig(**config), adapter_name="first").eval()
    model.add_adapter("second", LoraConfig(**config | {"r": 2}))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.15)
    return model


@pytest.mark.parametrize("fast", [True, False], ids=["decoder", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_active_adapter_counts(family: str, fast: bool) -> None:
    """One decoder, loaded under one adapter, the other, and none."""
    model = adapted(family)
    decoder = decoder_for(model) if fast else TransformersDecoder(model, torch.float32)
    first = by_transformers(model)
    assert_equal(by_decoder(decoder), first)
    model.set_adapter("second")
    decoder.load_weights(model)
    second = by_transformers(model)
    assert_equal(by_decoder(decoder), second)
    with model.disable_adapter():
        decoder.load_weights(model)
        assert_equal(by_decoder(decoder), by_transformers(tiny_model(family)))
    assert (second - first).abs().max() > 0.1


def test_weights_are_a_copy_until_they_are_loaded_again() -> None:
    """Training goes on in the model while the decoder says what it said."""
    model = tiny_model("llama")
    decoder = decoder_for(model)
    before = by_decoder(decoder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    assert torch.equal(by_decoder(decoder), before)
    decoder.load_weights(model)
    assert_equal(by_decoder(decoder), by_transformers(model))


def test_what_the_decoder_cannot_compute_is_left_to_the_model() -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4))
    assert decoder_for(gpt2) is None
    assert is_supported(adapted("llama"))
    assert decoder_for(adapted("llama", use_dora=True)) is None
    assert decoder_for(adapted("llama", lora_bias=True)) is None
    assert decoder_for(adapted("qwen2", target_modules=["q_proj", "lm_head"])) is None
    assert decoder_for(adapted("qwen2", target_modules=["q_proj", "embed_tokens"])) is None
    quantised = tiny_model("llama")
    quantised.model.layers[0].mlp.down_proj = type("Linear4bit", (nn.Linear,), {})(48, 32)
    assert decoder_for(quantised) is None


@pytest.mark.parametrize(
    "changes", [{"num_hidden_layers": 2}, {"rms_norm_eps": 1e-3}, {"tie_word_embeddings": False}, {"vocab_size": 98}]
)
def test_another_model_is_not_accepted(changes: dict) -> None:
    decoder = decoder_for(tiny_model("llama"))
    assert decoder.accepts(tiny_model("llama", seed=1))
    assert not decoder.accepts(tiny_model("llama", **changes))
    assert not decoder.accepts(tiny_model("qwen3"))
