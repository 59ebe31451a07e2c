"""Adapters on one trunk: each learns alone, none shows when it is off, and PEFT reads what is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from tests.models.plain import each_response, plain_logprobs, stir
from tests.models.test_rows import random_rows
from tests.models.tiny import FAMILIES, VOCABULARY, tiny_model
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from trimtab.errors import ModelError
from trimtab.models.policy import Policy
from trimtab.models.rows import lay_out
from trimtab.models.trunk import Trunk

ROWS = random_rows(seed=6)
BATCH = lay_out(ROWS, pad_id=0)


def trunk_with(*adapters: str, family: str = "llama", dropout: float = 0.0) -> Trunk:
    """A trunk with stirred adapters that can learn."""
    trunk = Trunk(tiny_model(family))
    for number, adapter in enumerate(adapters):
        trunk.add_adapter(adapter, rank=4, alpha=8, dropout=dropout, targets="all-linear")
        stir(trunk, adapter, seed=number)
    return trunk


def hidden(trunk: Trunk, adapter: str | None, *, train: bool = False) -> Tensor:
    with torch.no_grad(), trunk.using(adapter, train=train):
        return trunk.hidden(BATCH)


def real(states: Tensor) -> Tensor:
    """Hidden states of tokens that are no padding."""
    return states[(BATCH.segments >= 0).flatten()]


def gradients(trunk: Trunk, adapter: str) -> dict[str, Tensor | None]:
    """By the names that PEFT gives the parameters of an adapter that is alone."""
    return {n.replace(f".{adapter}.", ".default."): p.grad for n, p in trunk.adapter_parameters(adapter).items()}


# Each learns alone ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("active", ["second", None])
def test_a_graph_is_differentiated_whatever_adapter_is_active(active: str | None) -> None:
    """Two learning adapters. Both graphs are recorded first, then each is differentiated while another adapter, or
    none, is switched on; PEFT with that adapter alone and separate forwards say what its gradient is."""
    trunk = trunk_with("first", "second")
    losses = {}
    for adapter in ("first", "second"):
        losses[adapter] = Policy(trunk, None, None, adapter).logprobs(BATCH, train=True).sum() / BATCH.mask.sum()
    with trunk.using(active):
        losses["first"].backward()
    with trunk.using("first"):
        assert all(gradient is None for gradient in gradients(trunk, "second").values())
    assert all(gradient is not None for gradient in gradients(trunk, "first").values())
    kept = {name: gradient.clone() for name, gradient in gradients(trunk, "first").items()}
    with trunk.using(None):
        pass
    losses["second"].backward()
    assert_equal(gradients(trunk, "first"), kept, atol=0.0)

    for seed, adapter in enumerate(("first", "second")):
        alone = get_peft_model(
            tiny_model("llama"), LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        ).eval()
        own = {n: p for n, p in alone.named_parameters() if "lora_" in n}
        generator = torch.Generator().manual_seed(seed)
        for parameter in own.values():
            parameter.data.normal_(std=0.2, generator=generator)
        plain = each_response(ROWS, lambda *pair, model=alone: plain_logprobs(model, *pair))
        (plain.sum() / BATCH.mask.sum()).backward()
        assert_equal(gradients(trunk, adapter), {name: p.grad for name, p in own.items()}, atol=1e-5)


def assert_equal(actual: dict[str, Tensor | None], expected: dict[str, Tensor | None], *, atol: float) -> None:
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name] is not None, name
        torch.testing.assert_close(actual[name], tensor, atol=atol, rtol=1e-4)


def test_the_base_weights_never_learn_beside_an_adapter() -> None:
    trunk = trunk_with("policy")
    Policy(trunk, None, None, "policy").logprobs(BATCH, train=True).sum().backward()
    learning = {name for name, p in trunk.model.named_parameters() if p.requires_grad}
    assert learning == set(trunk.adapter_parameters("policy"))
    assert all(p.grad is None for name, p in trunk.model.named_parameters() if ".policy." not in name)


def test_a_loaded_adapter_stays_frozen_through_every_switch(tmp_path: Path) -> None:
    trunk_with("reward").save_adapter("reward", tmp_path)
    trunk = trunk_with("policy")
    trunk.load_adapter("reward", tmp_path)
    for adapter in ("reward", None, "policy", None, "reward", None):
        for inside in (True, False):
            with trunk.using(adapter):
                assert {p.requires_grad for p in trunk.adapter_parameters("reward").values()} == {False}, inside
                assert {p.requires_grad for p in trunk.adapter_parameters("policy").values()} == {True}, inside
        assert {p.requires_grad for p in trunk.adapter_parameters("reward").values()} == {False}
        assert {p.requires_grad for p in trunk.adapter_parameters("policy").values()} == {True}


@pytest.mark.parametrize("family", FAMILIES)
def test_without_adapter_the_trunk_is_the_base_model_exactly(family: str) -> None:
    trunk = trunk_with("first", "second", family=family)
    base = hidden(Trunk(tiny_model(family)), None)
    assert (real(hidden(trunk, "first")) - real(base)).abs().max() > 0.05
    assert torch.equal(hidden(trunk, None), base)
    assert (real(hidden(trunk, "second")) - real(base)).abs().max() > 0.05
    assert torch.equal(hidden(trunk, None), base)


def test_a_fresh_adapter_changes_nothing() -> None:
    trunk = Trunk(tiny_model("llama"))
    trunk.add_adapter("policy", rank=4, alpha=8, dropout=0.0, targets="all-linear")
    assert torch.equal(hidden(trunk, "policy"), hidden(trunk, None))


def test_a_copy_starts_equal_and_learns_for_itself() -> None:
    trunk = trunk_with("reward")
    trunk.copy_adapter("reward", "value")
    before = hidden(trunk, "reward")
    assert torch.equal(hidden(trunk, "value"), before)
    with trunk.using("value", train=True):
        trunk.hidden(BATCH)[:, 0].sum().backward()
    assert all(p.grad is None for p in trunk.adapter_parameters("reward").values())
    torch.optim.SGD(trunk.adapter_parameters("value").values(), lr=1e-4).step()
    assert torch.equal(hidden(trunk, "reward"), before)
    assert (real(hidden(trunk, "value")) - real(before)).abs().max() > 1e-3


# Dropout -------------------------------------------------------------------------------------------------------------


def test_inputs_are_dropped_only_while_learning() -> None:
    trunk, without = trunk_with("policy", dropout=0.5), trunk_with("policy")
    kept = hidden(without, "policy")
    assert torch.equal(hidden(trunk, "policy"), kept)
    dropped = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        dropped.append(hidden(trunk, "policy", train=True))
    assert torch.equal(dropped[0], dropped[1])
    assert (real(dropped[0]) - real(dropped[2])).abs().max() > 0.05
    assert (real(dropped[0]) - real(kept)).abs().max() > 0.05
    assert torch.equal(hidden(trunk, "policy"), kept)


def test_the_base_models_own_dropout_stays_off() -> None:
    trunk = Trunk(tiny_model("llama", attention_dropout=0.5))
    trunk.add_adapter("policy", rank=4, alpha=8, dropout=0.5, targets="all-linear")  # the identity, dropout or not
    expected = hidden(Trunk(tiny_model("llama")), None)
    torch.testing.assert_close(hidden(trunk, "policy", train=True), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden(trunk, None, train=True), expected, atol=1e-5, rtol=0)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_loads_a_saved_adapter(tmp_path: Path, family: str) -> None:
    """By hand onto the base model, and by the base model's name that the adapter records."""
    tiny_model(family).save_pretrained(tmp_path / "base")
    trunk = Trunk(AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval())
    trunk.add_adapter("other", rank=2, alpha=2, dropout=0.0, targets="all-linear")
    trunk.add_adapter("policy", rank=4, alpha=8, dropout=0.1, targets="all-linear")
    stir(trunk, "other")
    stir(trunk, "policy")
    trunk.save_adapter("policy", tmp_path / "adapter")
    with torch.no_grad():
        ours = Policy(trunk, None, None, "policy").logprobs(BATCH)
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        for theirs in (
            PeftModel.from_pretrained(base, tmp_path / "adapter"),
            AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter"),
        ):
            assert theirs.peft_config["default"].inference_mode
            theirs.eval()
            expected = each_response(ROWS, lambda *pair, model=theirs: plain_logprobs(model, *pair))
            torch.testing.assert_close(ours.double(), expected, atol=1e-4, rtol=0)


def test_a_loaded_adapter_equals_the_saved_one(tmp_path: Path) -> None:
    """Beside another that is there already, and as the first one of its trunk."""
    saved = trunk_with("policy")
    saved.save_adapter("policy", tmp_path)
    for trunk in (trunk_with("other"), Trunk(tiny_model("llama"))):
        trunk.load_adapter("loaded", tmp_path)
        assert torch.equal(hidden(trunk, "loaded"), hidden(saved, "policy"))


@pytest.mark.parametrize(
    "other",
    [
        lambda: tiny_model("llama", num_hidden_layers=2),
        lambda: tiny_model("llama", num_hidden_layers=4),
        lambda: tiny_model("llama", hidden_size=48),
        lambda: tiny_model("llama", intermediate_size=64),
        lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4)),
    ],
    ids=["fewer layers", "more layers", "wider", "wider inside", "other family"],
)
@pytest.mark.parametrize("beside", [False, True], ids=["first", "second"])
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, other: Callable, beside: bool) -> None:
    trunk_with("policy").save_adapter("policy", tmp_path)
    trunk = Trunk(other())
    if beside:
        trunk.add_adapter("own", rank=4, alpha=8, dropout=0.0, targets="all-linear")
    with pytest.raises(ModelError, match=r"adapter in .* does not fit this model"):
        trunk.load_adapter("policy", tmp_path)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_targets_that_cannot_learn_are_refused(family: str) -> None:
    """The head stands outside the trunk: an adapter on it would be saved, and would do nothing."""
    with pytest.raises(ModelError, match="head is not supported"):
        Trunk(tiny_model(family)).add_adapter("x", rank=2, alpha=2, dropout=0.0, targets=["q_proj", "lm_head"])
    with pytest.raises(ModelError, match="nowhere"):
        Trunk(tiny_model(family)).add_adapter("x", rank=2, alpha=2, dropout=0.0, targets=["nowhere"])


def test_an_adapter_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="no adapter 'policy'"), Trunk(tiny_model("llama")).using("policy"):
        pass
