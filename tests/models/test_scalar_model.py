"""A scalar head read at a response's end and before its tokens, against plain forwards; and its files, as others read
them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from tests.models.plain import each_response, plain_states, stir
from tests.models.test_rows import random_rows
from tests.models.tiny import FAMILIES, tiny_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from trimtab.errors import ModelError
from trimtab.models.loading import load_reward_model
from trimtab.models.rows import TokenRow, lay_out
from trimtab.models.scalar_model import ScalarModel
from trimtab.models.trunk import Trunk

ROWS = random_rows(seed=7)
ADAPTER = {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear"}
BATCH = lay_out(ROWS, pad_id=0)


def scalar_model(
    family: str = "llama", adapter: str | None = None, model: torch.nn.Module | None = None
) -> ScalarModel:
    """A scalar model with a bias, whose adapter is not the identity."""
    trunk = Trunk(tiny_model(family) if model is None else model)
    if adapter is not None:
        trunk.add_adapter(adapter, **ADAPTER)
        stir(trunk, adapter)
    scalar = ScalarModel.fresh(trunk, adapter=adapter, seed=3)
    with torch.no_grad():
        scalar.head.bias.fill_(0.25)
    return scalar


def scores_of(model: ScalarModel) -> Tensor:
    with torch.no_grad():
        return model.scores(BATCH)


def values_of(model: ScalarModel) -> Tensor:
    with torch.no_grad():
        return model.values(BATCH)


def by_hand(model: ScalarModel, states: Tensor) -> Tensor:
    """What the head makes of hidden states `[n, D]`."""
    return (states * model.head.weight.double()).sum(-1) + model.head.bias.double()


@torch.no_grad()
def plain_scores(model: ScalarModel) -> Tensor:
    """Prompt and response alone through the model itself; the state of the last token."""
    states = [plain_states(model.trunk.causal_lm, row.prompt_ids + r)[-1] for row in ROWS for r in row.responses]
    return by_hand(model, torch.stack(states))


@torch.no_grad()
def plain_values(model: ScalarModel) -> Tensor:
    """The value of a token is read before it is written: at the token before, the prompt's last for the first."""

    def values(prompt: tuple[int, ...], response: tuple[int, ...]) -> Tensor:
        return by_hand(model, plain_states(model.trunk.causal_lm, prompt + response)[len(prompt) - 1 : -1])

    return each_response(ROWS, values)


@pytest.mark.parametrize("adapter", [None, "reward"], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_values_are_read_where_they_should(family: str, adapter: str | None) -> None:
    model = scalar_model(family, adapter)
    torch.testing.assert_close(scores_of(model).double(), plain_scores(model), atol=1e-4, rtol=0)
    torch.testing.assert_close(values_of(model).double(), plain_values(model), atol=1e-4, rtol=0)
    assert (values_of(model)[~BATCH.mask] == 0).all()
    assert values_of(model).dtype == torch.float32


def test_a_response_without_tokens_is_scored_by_its_prompt() -> None:
    model = scalar_model()
    with torch.no_grad():
        scores = model.scores(lay_out([TokenRow((5, 6), ((7,), ()))], pad_id=0))
        expected = by_hand(model, plain_states(model.trunk.causal_lm, (5, 6)))[-1]
    torch.testing.assert_close(scores[1].double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
def test_rows_are_scored_in_their_order(max_tokens: int) -> None:
    model = scalar_model(adapter="reward")
    pieces = model.score_rows(ROWS, pad_id=0, max_tokens=max_tokens)
    assert [len(piece) for piece in pieces] == [len(row.responses) for row in ROWS]
    torch.testing.assert_close(torch.cat(pieces).double(), plain_scores(model), atol=1e-4, rtol=0)
    assert not any(piece.requires_grad for piece in pieces)


# The head ------------------------------------------------------------------------------------------------------------


def test_a_fresh_head() -> None:
    """Width 32: standard deviation 1 / sqrt(33). Over 128 000 weights the sample's is within a hundredth of it."""
    trunk = Trunk(tiny_model("llama"))
    heads = [ScalarModel.fresh(trunk, adapter=None, seed=seed).head for seed in range(4000)]
    weights = torch.cat([head.weight.detach() for head in heads])
    assert weights.shape == (4000, 32)
    assert weights.std().item() == pytest.approx(1 / math.sqrt(33), rel=1e-2)
    assert weights.mean().item() == pytest.approx(0, abs=2e-3)  # four standard errors
    assert all(head.bias.item() == 0 for head in heads)
    assert torch.equal(ScalarModel.fresh(trunk, adapter=None, seed=5).head.weight, heads[5].weight)


def test_normalised_scores_have_mean_0_and_deviation_1() -> None:
    """Also the second time; the order of scores and their distances' ratios stay."""
    model = scalar_model()
    before = plain_scores(model)
    for _ in range(2):
        scores = scores_of(model)
        model.normalise(scores.mean().item(), scores.std(unbiased=False).item())
        expected = (before - before.mean()) / before.std(unbiased=False)
        torch.testing.assert_close(scores_of(model).double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("std", [0.0, math.nan])
def test_equal_scores_cannot_be_normalised(std: float) -> None:
    with pytest.raises(ModelError, match="same score"):
        scalar_model().normalise(1.0, std)


# Copies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [None, "reward"], ids=["full", "lora"])
def test_a_value_model_starts_as_the_reward_model_and_leaves_it_alone(adapter: str | None) -> None:
    """Learning moves the copy's values; the reward model's scores stay what they were, bit for bit."""
    model = scalar_model(adapter=adapter)
    expected, scores = plain_values(model), scores_of(model)
    value_model = model.copy("value", **ADAPTER)
    torch.testing.assert_close(values_of(value_model).double(), expected, atol=1e-4, rtol=0)
    assert value_model.trunk is model.trunk
    parameters = value_model.trainable_parameters()
    assert len(parameters) == 2 + 3 * 7 * 2  # head; A and B of seven layers in three blocks
    for _ in range(2):  # B of a fresh adapter is zero, so A waits for the second step
        value_model.values(BATCH, train=True).square().sum().backward()
        torch.optim.SGD(parameters.values(), lr=1e-3).step()
    assert all(parameter.grad.abs().max() > 0 for parameter in parameters.values())
    assert (values_of(value_model) - expected).abs().max() > 0.05
    assert torch.equal(scores_of(model), scores)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_model_is_a_sequence_classifier(tmp_path: Path, family: str) -> None:
    """With one label; all weights are found, and scores are equal but for the bias, which such a head does not have."""
    model = scalar_model(family)
    model.save(tmp_path)
    expected = plain_scores(model)
    torch.testing.assert_close(scores_of(load_reward_model(tmp_path)).double(), expected, atol=1e-4, rtol=0)
    plain, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert plain.num_labels == 1
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(classify(plain.eval()) + 0.25, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_a_sequence_classifier_to_peft(tmp_path: Path, family: str) -> None:
    tiny_model(family).save_pretrained(tmp_path / "base")
    model = scalar_model(family, "reward", model=AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval())
    model.save(tmp_path / "reward")
    peft_model = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "reward", num_labels=1)
    torch.testing.assert_close(classify(peft_model.eval()) + 0.25, plain_scores(model), atol=1e-4, rtol=0)


@torch.no_grad()
def classify(model: torch.nn.Module) -> Tensor:
    """Scores by a plain model, one response at a time."""
    inputs = [torch.tensor([row.prompt_ids + r]) for row in ROWS for r in row.responses]
    return torch.cat([model(input_ids=ids).logits[:, 0] for ids in inputs]).double()


def test_an_adapter_comes_back_alone_and_onto_another_trunk(tmp_path: Path) -> None:
    """And a value model can start from either."""
    tiny_model("llama").save_pretrained(tmp_path / "base")
    model = scalar_model(adapter="any", model=AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval())
    model.save(tmp_path / "reward")
    expected, values = scores_of(model), values_of(model)
    shared = Trunk(tiny_model("llama"))
    shared.add_adapter("policy", **ADAPTER)
    for onto in (None, shared):
        loaded = load_reward_model(tmp_path / "reward", onto=onto)
        assert (loaded.trunk is shared) == (onto is shared)
        assert torch.equal(scores_of(loaded), expected)
        assert torch.equal(values_of(loaded.copy("value", **ADAPTER)), values)
        assert torch.equal(scores_of(loaded), expected)


def test_a_value_model_can_be_saved_too(tmp_path: Path) -> None:
    """One that stands beside others on a trunk records which model it needs."""
    tiny_model("llama").save_pretrained(tmp_path / "base")
    model = scalar_model(model=AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval())
    model.trunk.add_adapter("other", **ADAPTER)
    value_model = model.copy("value", **ADAPTER)
    stir(model.trunk, "value")
    value_model.save(tmp_path / "value")
    assert torch.equal(values_of(load_reward_model(tmp_path / "value")), values_of(value_model))


@pytest.mark.parametrize("adapter", [None, "reward"])
def test_what_learns_is_in_float32_whatever_the_products_are_in(tmp_path: Path, adapter: str | None) -> None:
    """And what does not learn is in the products' own type."""
    tiny_model("llama").save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    scalar_model(adapter=adapter, model=base).save(tmp_path / "reward")
    model = load_reward_model(tmp_path / "reward", learns=True, compute_dtype=torch.bfloat16)
    learning = set(model.trainable_parameters().values())
    assert {weight.dtype for weight in learning} == {torch.float32}
    frozen = {weight.dtype for weight in model.trunk.causal_lm.get_decoder().parameters() if weight not in learning}
    assert frozen == (set() if adapter is None else {torch.bfloat16})
    fixed = load_reward_model(tmp_path / "reward", compute_dtype=torch.bfloat16)
    assert fixed.trunk.causal_lm.get_decoder().embed_tokens.weight.dtype == torch.bfloat16


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    model = scalar_model(adapter="reward")
    model.save(tmp_path)
    with pytest.raises(ModelError, match="hidden size 32, but the model has 48"):
        load_reward_model(tmp_path, onto=Trunk(tiny_model("llama", hidden_size=48)))
