"""A policy against plain forwards of the same model, and against what transformers makes of its folder."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.data.tiny_tokenizers import byte_level
from tests.data.tiny_tokenizers import tiny as tiny_tokenizer
from tests.models.plain import each_response, plain_logprobs, plain_states, plain_table, stir
from tests.models.test_rows import random_rows
from tests.models.tiny import FAMILIES, VOCABULARY, tiny_model
from tests.training.world import prompts, tiny_policy
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    CohereForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from trimtab.data.chat import ChatTemplate
from trimtab.errors import ModelError
from trimtab.models import policy as policy_module
from trimtab.models.loading import load_policy
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow, lay_out
from trimtab.models.trunk import Trunk

SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def bare(model: PreTrainedModel) -> Policy:
    """A policy of tokens alone."""
    return Policy(Trunk(model), tokenizer=None, template=None)


def chat_policy(tokenizer: PreTrainedTokenizerFast) -> Policy:
    """A policy that can be saved, untied, whose model knows nothing of the template's tokens."""
    tokenizer = copy.deepcopy(tokenizer)
    return Policy(Trunk(tiny_model("qwen2", vocab_size=len(tokenizer))), tokenizer, ChatTemplate(tokenizer))


# Values and gradients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_and_entropies_equal_plain_forwards(family: str, temperature: float) -> None:
    model, rows = tiny_model(family), random_rows(seed=2)
    logprobs, entropies = bare(model).logprobs_and_entropy(lay_out(rows, pad_id=0), temperature=temperature)
    with torch.no_grad():
        expected = each_response(rows, lambda *pair: plain_logprobs(model, *pair, temperature))
        tables = [plain_table(model, row.prompt_ids, r, temperature) for row in rows for r in row.responses]
    spread = torch.nn.utils.rnn.pad_sequence([-(t.exp() * t).sum(-1) for t in tables], batch_first=True)
    torch.testing.assert_close(logprobs.double(), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(entropies.double(), spread, atol=1e-4, rtol=0)
    with torch.no_grad():
        again = bare(model).logprobs(lay_out(rows, pad_id=0), temperature=temperature)
    torch.testing.assert_close(again.double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tokens_at_once", [None, 3], ids=["whole", "chunks"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_those_of_separate_forwards(
    monkeypatch: pytest.MonkeyPatch, family: str, tokens_at_once: int | None
) -> None:
    """Every token with a random weight, so that no two may be exchanged. In float64, except where the models themselves
    compute in float32 (their norms), so that little hides in rounding."""
    if tokens_at_once is not None:
        monkeypatch.setattr(policy_module, "LOGITS_AT_ONCE", tokens_at_once * SHAPE["vocab_size"])
    model, rows = tiny_model(family).double(), random_rows(seed=3)
    policy = bare(model)
    check_gradients(policy, model, rows, temperature=0.7)


@pytest.mark.parametrize("tokens_at_once", [None, 3], ids=["whole", "chunks"])
def test_gradients_of_an_adapter_equal_those_of_separate_forwards(
    monkeypatch: pytest.MonkeyPatch, tokens_at_once: int | None
) -> None:
    if tokens_at_once is not None:
        monkeypatch.setattr(policy_module, "LOGITS_AT_ONCE", tokens_at_once * SHAPE["vocab_size"])
    policy = tiny_policy(adapter=True)
    stir(policy.trunk, "policy")
    policy.model.double()
    check_gradients(policy, policy.model, random_rows(seed=3), temperature=1.0)


def check_gradients(policy: Policy, model: torch.nn.Module, rows: list[TokenRow], temperature: float) -> None:
    batch = lay_out(rows, pad_id=0)
    weights = torch.randn(batch.mask.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameters = policy.trainable_parameters()
    logprobs = policy.logprobs(batch, temperature=temperature, train=True)
    ours = torch.autograd.grad((weights * logprobs).sum(), parameters.values())
    plain = each_response(rows, lambda *pair: plain_logprobs(model, *pair, temperature))
    theirs = torch.autograd.grad((weights * plain).sum(), parameters.values())
    torch.testing.assert_close(logprobs, plain, atol=1e-5, rtol=0)
    for name, our, their in zip(parameters, ours, theirs, strict=True):
        assert their.abs().max() > 1e-6, name
        torch.testing.assert_close(our, their, atol=1e-5, rtol=1e-5)


def test_the_head_sees_no_more_tokens_at_once_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once going forward and once more going back: logits of other chunks are not kept."""
    whole, sizes = policy_module.head_logits, []

    def counting(states: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(len(states))
        return whole(states, *rest)

    monkeypatch.setattr(policy_module, "LOGITS_AT_ONCE", 4 * SHAPE["vocab_size"])
    monkeypatch.setattr(policy_module, "head_logits", counting)
    batch = lay_out([TokenRow((5, 6), ((7, 8, 9, 10, 11), (12, 13, 14, 15)))], pad_id=0)
    logprobs = bare(tiny_model("llama")).logprobs(batch, train=True)
    assert sizes == [4, 4, 1]
    logprobs.sum().backward()
    assert sorted(sizes) == [1, 1, 4, 4, 4, 4]


@pytest.mark.parametrize("family", ["gemma3", "cohere", "granite"])
def test_what_a_family_does_to_logits_after_the_head_is_done(family: str) -> None:
    """A soft cap, a factor, a divisor: all far from 1, and the plain forward says what they do."""
    torch.manual_seed(0)
    model = {
        "gemma3": lambda: tiny_model("gemma3", final_logit_softcapping=1.5),
        "cohere": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=4.0)).eval(),
        "granite": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=0.2)).eval(),
    }[family]()
    rows = random_rows(seed=4)
    logprobs, _ = bare(model).logprobs_and_entropy(lay_out(rows, pad_id=0))
    with torch.no_grad():
        expected = each_response(rows, lambda *pair: plain_logprobs(model, *pair))
        head = model.get_output_embeddings().weight.double()
        untouched = each_response(
            rows, lambda *pair: plain_head_logprobs(model, head, *pair)
        )  # what forgetting the treatment would give
    torch.testing.assert_close(logprobs.double(), expected, atol=1e-4, rtol=0)
    assert (untouched - expected).abs().max() > 0.05


def plain_head_logprobs(
    model: PreTrainedModel, head: torch.Tensor, prompt: tuple[int, ...], response: tuple[int, ...]
) -> torch.Tensor:
    table = (plain_states(model, prompt + response) @ head.T).log_softmax(-1)
    return table[torch.arange(len(response)) + len(prompt) - 1, torch.tensor(response)]


@pytest.mark.filterwarnings("ignore")
def test_a_model_in_which_responses_see_each_other_is_refused(tmp_path: Path) -> None:
    """Its convolutions run along the row, whatever the mask says."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer("chatml")
    layers = ["conv", "full_attention", "conv"]
    config = Lfm2Config(**SHAPE | {"vocab_size": len(tokenizer), "num_hidden_layers": 3}, layer_types=layers)
    model = Lfm2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="beside another in a row"):
        load_policy(str(tmp_path))


# What is saved -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["llama3", "gemma"])
def test_a_saved_policy_generates_in_transformers_and_stops_where_its_template_does(tmp_path: Path, style: str) -> None:
    """In these styles a turn does not end with eos. The head is bent so that the end of a turn is by far the likeliest
    first token; the model's own config, which says 2, would write on."""
    policy = chat_policy(tiny_tokenizer(style))
    tokenizer, model = policy.tokenizer, policy.trunk.causal_lm
    end = tokenizer.convert_tokens_to_ids({"llama3": "<|eot_id|>", "gemma": "<end_of_turn>"}[style])
    (prompt,) = prompts(1)
    ids = torch.tensor([policy.template.prompt_ids(prompt)])
    with torch.no_grad():
        last = plain_states(model, ids[0].tolist())[-1]
        model.get_output_embeddings().weight[end] = 20 * last / last.norm()
    policy.save(tmp_path)

    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert set(plain.generation_config.eos_token_id) == {end, tokenizer.eos_token_id}
    assert plain.generation_config.pad_token_id not in {end, tokenizer.eos_token_id}
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name)), name
    said = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        [{"role": "user", "content": "question 0"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert said["input_ids"].tolist() == ids.tolist()
    out = plain.generate(**said, max_new_tokens=8, do_sample=False)
    assert out[0, ids.shape[1] :].tolist() == [end]


def with_bos() -> PreTrainedTokenizerFast:
    """A base model's tokenizer: no chat template, and bos before every text, as in Llama and Gemma."""
    backend = byte_level(["<bos>", "<eos>", "<pad>"])
    backend.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


@pytest.mark.parametrize("adds_bos", [False, True], ids=["plain", "bos"])
def test_the_plain_form_is_saved_as_a_chat_template(tmp_path: Path, adds_bos: bool) -> None:
    """What the next stage reads, and what transformers writes, is what this policy was trained on: text and newline
    after bos, if the tokenizer puts one."""
    policy = chat_policy(with_bos() if adds_bos else tiny_tokenizer("plain"))
    tokenizer, (prompt,) = policy.tokenizer, prompts(1)
    text_ids = tokenizer("question 0\n", add_special_tokens=False).input_ids
    expected = [tokenizer.bos_token_id] * adds_bos + text_ids
    assert policy.template.prompt_ids(prompt) == expected
    response = policy.template.response_ids("answer")
    assert response == [*tokenizer("answer", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    policy.save(tmp_path)

    again = load_policy(str(tmp_path)).template
    assert again.prompt_ids(prompt) == expected
    assert again.response_ids("answer") == response
    assert again.decode(response) == "answer"
    said = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        [{"role": "user", "content": "question 0"}], add_generation_prompt=True
    )
    assert said["input_ids"] == expected


def test_an_adapter_policy_comes_back_merged(tmp_path: Path) -> None:
    """Base and adapter saved apart, loaded as one plain model: log-probabilities of the adapted model, 1e-4 nats."""
    tiny_policy().save(tmp_path / "base")
    policy = load_policy(str(tmp_path / "base"))
    policy.adapter = "sft"
    policy.trunk.add_adapter("sft", rank=4, alpha=8, dropout=0.0, targets="all-linear")
    stir(policy.trunk, "sft")
    policy.save(tmp_path / "adapter")
    merged = load_policy(str(tmp_path / "adapter"))
    assert merged.adapter is None
    rows = random_rows(seed=5)
    logprobs, _ = merged.logprobs_and_entropy(lay_out(rows, pad_id=0))
    with torch.no_grad():
        adapted = each_response(rows, lambda *pair: plain_logprobs(policy.model, *pair))
        with policy.model.disable_adapter():
            base = each_response(rows, lambda *pair: plain_logprobs(policy.model, *pair))
    torch.testing.assert_close(logprobs.double(), adapted, atol=1e-4, rtol=0)
    assert (adapted - base).abs().max() > 0.1
