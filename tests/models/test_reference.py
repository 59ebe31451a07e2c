"""The reference keeps the policy's first log-probabilities while the policy moves, and is no second model."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from tests.models.plain import each_response, plain_logprobs, stir
from tests.models.test_rows import random_rows
from tests.models.tiny import FAMILIES, VOCABULARY, tiny_model
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, PhiConfig, PhiForCausalLM, PreTrainedModel

from trimtab.models.policy import Policy
from trimtab.models.reference import reference_of
from trimtab.models.rows import lay_out
from trimtab.models.trunk import Trunk

ROWS = random_rows(seed=8)
BATCH = lay_out(ROWS, pad_id=0)
MAPS = Path("/proc/self/maps")


def model_of(family: str) -> PreTrainedModel:
    """Tied and untied heads, windows, a family whose embedding has another name, and one whose head has a bias."""
    if family in FAMILIES:
        return tiny_model(family)
    torch.manual_seed(0)
    shape = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.15}
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**shape, n_positions=64, n_embd=32, n_layer=2, n_head=4)).eval()
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    phi = PhiForCausalLM(PhiConfig(**shape, **heads, hidden_size=32, intermediate_size=48, num_hidden_layers=2)).eval()
    with torch.no_grad():
        phi.lm_head.bias.normal_()
    return phi


def policy_of(family: str, adapter: bool = False) -> Policy:
    policy = Policy(Trunk(model_of(family)), None, None)
    if adapter:
        policy.adapter = "policy"
        policy.trunk.add_adapter("policy", rank=4, alpha=8, dropout=0.0, targets="all-linear")
    return policy


@torch.no_grad()
def plain(model: nn.Module, temperature: float) -> Tensor:
    return each_response(ROWS, lambda *pair: plain_logprobs(model, *pair, temperature))


def move(policy: Policy) -> None:
    """Change every weight that learns."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in policy.trainable_parameters().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "phi"])
def test_with_all_weights_the_reference_stays_where_the_policy_was(tmp_path: Path, family: str) -> None:
    policy, temperature = policy_of(family), 0.7
    first = plain(model_of(family), temperature)
    reference = reference_of(policy, tmp_path / "state" / "reference.safetensors")
    torch.testing.assert_close(reference(BATCH, temperature).double(), first, atol=1e-4, rtol=0)
    move(policy)
    torch.testing.assert_close(reference(BATCH, temperature).double(), first, atol=1e-4, rtol=0)
    moved = plain(policy.model, temperature)
    assert (moved - first).abs().max() > 0.1
    with torch.no_grad():  # and the policy is still itself after its weights were exchanged for a moment
        torch.testing.assert_close(policy.logprobs(BATCH, temperature=temperature).double(), moved, atol=1e-4, rtol=0)
    assert not reference(BATCH, temperature).requires_grad


def test_a_resumed_run_finds_the_first_weights_in_the_file(tmp_path: Path) -> None:
    """A second process builds the reference from a policy that has already learned."""
    policy = policy_of("llama")
    reference_of(policy, tmp_path / "reference.safetensors")
    move(policy)
    again = reference_of(policy, tmp_path / "reference.safetensors")
    torch.testing.assert_close(again(BATCH, 1.0).double(), plain(model_of("llama"), 1.0), atol=1e-4, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["reference.safetensors"]


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "phi"])
def test_with_an_adapter_the_reference_is_the_model_without_it(tmp_path: Path, family: str) -> None:
    policy = policy_of(family, adapter=True)
    stir(policy.trunk, "policy")
    reference = reference_of(policy, tmp_path / "reference.safetensors")
    first = plain(model_of(family), 0.7)
    torch.testing.assert_close(reference(BATCH, 0.7).double(), first, atol=1e-4, rtol=0)
    assert (plain(policy.model, 0.7) - first).abs().max() > 0.1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_a_reference_brings_no_parameters(tmp_path: Path, adapter: bool) -> None:
    policy = policy_of("llama", adapter=adapter)
    before = count_parameters()
    assert before >= sum(parameter.numel() for parameter in policy.model.parameters())
    reference = reference_of(policy, tmp_path / "reference.safetensors")
    reference(BATCH, 1.0)
    assert count_parameters() == before


@pytest.mark.skipif(not MAPS.exists(), reason="asks Linux which files are mapped")
def test_the_first_weights_are_a_mapped_file(tmp_path: Path) -> None:
    file = tmp_path / "reference.safetensors"
    reference = reference_of(policy_of("llama"), file)
    assert str(file) in MAPS.read_text()
    del reference
    gc.collect()
    assert str(file) not in MAPS.read_text()


def count_parameters() -> int:
    gc.collect()
    return sum(thing.numel() for thing in gc.get_objects() if isinstance(thing, nn.Parameter))
