"""The engine against transformers' own generate, on both decode paths, and what batching must not change."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tests.models.tiny import FAMILIES, VOCABULARY, tiny_model
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from trimtab.generation.engine import Engine, Sample
from trimtab.generation.prefixes import LEAST_SHARED
from trimtab.models.decoder import Decoder, decoder_for
from trimtab.models.transformers_decoder import TransformersDecoder

STOP, PAD, NEW_TOKENS = 2, 0, 16


def some_prompts(count: int = 7, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (count,), generator=generator).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def engine_of(model: PreTrainedModel, *, fast: bool = True, **settings: object) -> Engine:
    engine = Engine(model, stop_ids={STOP}, pad_id=PAD, **settings)
    if not fast:
        engine.decoder = TransformersDecoder(model, torch.float32)
    return engine


def by_transformers(model: PreTrainedModel, prompt: list[int]) -> list[int]:
    """Greedy tokens, the stop token included, of one prompt alone."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=STOP,
        pad_token_id=PAD,
    )
    return out[0, len(prompt) :].tolist()


def log_softmax_by_forward(model: PreTrainedModel, prompt: list[int], response: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities of every token after each prefix of the response, by one plain forward."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *response]])).logits[0].float()
    return logits[len(prompt) - 1 : -1].log_softmax(-1)


@pytest.mark.parametrize("fast", [True, False], ids=["decoder", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_transformers_generate(family: str, fast: bool) -> None:
    model = tiny_model(family)
    prompts = some_prompts()
    engine = engine_of(model, fast=fast, max_batch=3)
    assert isinstance(engine.decoder, Decoder) == fast
    groups = engine.generate(prompts, max_new_tokens=NEW_TOKENS, temperature=0)
    assert [list(group[0].token_ids) for group in groups] == [by_transformers(model, prompt) for prompt in prompts]


def test_a_family_without_a_fast_path_runs_on_its_own_forward() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    model = GPT2LMHeadModel(config).eval()
    engine = engine_of(model, max_batch=4)
    assert isinstance(engine.decoder, TransformersDecoder)
    prompts = some_prompts()
    groups = engine.generate(prompts, max_new_tokens=NEW_TOKENS, temperature=0)
    assert [list(group[0].token_ids) for group in groups] == [by_transformers(model, prompt) for prompt in prompts]


@pytest.mark.parametrize("fast", [True, False], ids=["decoder", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_those_of_a_plain_forward_at_the_sampling_temperature(family: str, fast: bool) -> None:
    model = tiny_model(family)
    prompts = some_prompts(4)
    groups = engine_of(model, fast=fast, max_batch=5).generate(
        prompts, group_size=3, max_new_tokens=NEW_TOKENS, temperature=0.7, seed=1
    )
    for prompt, group in zip(prompts, groups, strict=True):
        for sample in group:
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *sample.token_ids]])).logits[0, len(prompt) - 1 : -1]
            plain = (logits.float() / 0.7).log_softmax(-1).gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(sample.logprobs), plain, atol=1e-4, rtol=0)


def test_greedy_log_probabilities_are_the_models_own() -> None:
    model = tiny_model("llama")
    prompt = some_prompts(1)[0]
    ((sample,),) = engine_of(model).generate([prompt], max_new_tokens=NEW_TOKENS, temperature=0)
    table = log_softmax_by_forward(model, prompt, sample.token_ids)
    torch.testing.assert_close(torch.tensor(sample.logprobs), table.max(-1).values, atol=1e-4, rtol=0)


@settings(max_examples=15, deadline=None)
@given(max_batch=st.integers(1, 9), group_size=st.integers(1, 4), seed=st.integers(0, 3))
def test_a_sequence_does_not_depend_on_what_else_runs(max_batch: int, group_size: int, seed: int) -> None:
    """Refill, order of leaving and batch size change nothing; a smaller group is the beginning of a larger one."""
    model = tiny_model("llama")
    prompts = some_prompts(4)
    ask = {"max_new_tokens": NEW_TOKENS, "temperature": 1.0, "seed": seed}
    one_by_one = engine_of(model, max_batch=1).generate(prompts, group_size=4, **ask)
    groups = engine_of(model, max_batch=max_batch).generate(prompts, group_size=group_size, **ask)
    assert tokens_of(groups) == [group[:group_size] for group in tokens_of(one_by_one)]


def test_an_engine_can_be_used_again_with_longer_prompts() -> None:
    model = tiny_model("llama")
    engine = engine_of(model, max_batch=2)
    engine.generate([[5]], max_new_tokens=2, temperature=0)
    prompts = some_prompts()
    again = engine.generate(prompts, max_new_tokens=NEW_TOKENS, temperature=0)
    assert [list(group[0].token_ids) for group in again] == [by_transformers(model, prompt) for prompt in prompts]


@pytest.mark.parametrize("fast", [True, False], ids=["decoder", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_prompts_begin_with_is_read_once_and_changes_nothing(
    family: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three prompts that go on from one beginning, one that goes on from another, one that begins with neither."""
    model = tiny_model(family)
    beginning = some_prompts(1, seed=5)[0] * 9
    assert len(beginning) >= LEAST_SHARED
    ends = some_prompts(3)
    prompts = [beginning + ends[0], [9], beginning + ends[1], beginning[1:] + ends[0], beginning + ends[2]]
    engine = engine_of(model, fast=fast, max_batch=3)
    read: list[int] = []
    prefill = engine.decoder.prefill

    def counted(tokens: torch.Tensor, lengths: torch.Tensor, *rest: object) -> object:
        read.append(int(lengths.sum()))
        return prefill(tokens, lengths, *rest)

    monkeypatch.setattr(engine.decoder, "prefill", counted)
    groups = engine.generate(prompts, group_size=2, max_new_tokens=NEW_TOKENS, temperature=0)
    expected = [by_transformers(model, prompt) for prompt in prompts]
    assert [[list(sample.token_ids) for sample in group] for group in groups] == [[tokens] * 2 for tokens in expected]
    assert sum(read) == sum(map(len, prompts)) - 2 * len(beginning)


def test_seeds_differ_and_repeat() -> None:
    engine = engine_of(tiny_model("llama"))
    prompts = some_prompts()
    first, again, other = (
        tokens_of(engine.generate(prompts, group_size=2, max_new_tokens=NEW_TOKENS, seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert any(group[0] != group[1] for group in first)


def test_generation_stops_at_any_stop_token_and_says_so() -> None:
    model = tiny_model("llama")
    prompt = some_prompts(1)[0]
    ((whole,),) = engine_of(model).generate([prompt], max_new_tokens=8, temperature=0)
    assert whole.finish_reason == "length"
    stop = whole.token_ids[3]
    ((cut,),) = Engine(model, stop_ids={STOP, stop}, pad_id=PAD).generate([prompt], max_new_tokens=8, temperature=0)
    end = whole.token_ids.index(stop) + 1
    assert cut == Sample(whole.token_ids[:end], whole.logprobs[:end], "stop")


def test_each_prompt_may_have_a_limit_of_its_own() -> None:
    """What is written before it is the same; no limit but one's own counts, and one for each prompt is asked for."""
    prompts, limits = some_prompts(4), [3, 1, NEW_TOKENS, 2]
    engine = engine_of(tiny_model("llama"), max_batch=3)
    whole = engine.generate(prompts, group_size=2, max_new_tokens=NEW_TOKENS)
    cut = engine.generate(prompts, group_size=2, max_new_tokens=limits)
    for group, cut_group, limit in zip(whole, cut, limits, strict=True):
        assert [sample.token_ids for sample in cut_group] == [sample.token_ids[:limit] for sample in group]
        for cut_sample, sample in zip(cut_group, group, strict=True):
            assert cut_sample.logprobs == pytest.approx(sample.logprobs[:limit], abs=1e-4)
    with pytest.raises(ValueError, match="2 limits for 4 prompts"):
        engine.generate(prompts, max_new_tokens=[1, 2])


def test_samples_follow_the_models_distribution() -> None:
    """First tokens of 4000 samples: every token's share within five standard errors of its probability."""
    model, count = tiny_model("llama"), 4000
    prompt = some_prompts(1)[0]
    (group,) = engine_of(model, max_batch=500).generate([prompt], group_size=count, max_new_tokens=1, seed=3)
    shares = torch.bincount(torch.tensor([s.token_ids[0] for s in group]), minlength=VOCABULARY) / count
    with torch.no_grad():
        p = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    assert ((shares - p).abs() <= 5 * (p * (1 - p) / count).sqrt() + 1 / count).all()


@pytest.mark.parametrize("family", ["llama", "gemma3", "qwen3"])
def test_an_adapter_is_merged_into_the_engines_copy_and_left_alone_in_the_model(family: str) -> None:
    """Loaded weights are the adapter's; the model is untouched; loading again after training changes the output."""
    model = tiny_model(family)
    prompts = some_prompts()
    plain = engine_of(copy.deepcopy(model)).generate(prompts, max_new_tokens=NEW_TOKENS, temperature=0)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules="all-linear")).eval()
    engine = engine_of(adapted)
    assert engine.generate(prompts, max_new_tokens=NEW_TOKENS, temperature=0) == plain  # a fresh adapter is no change
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.3)
    before = {name: parameter.clone() for name, parameter in adapted.named_parameters()}
    engine.load_weights(adapted)
    groups = engine.generate(prompts, max_new_tokens=NEW_TOKENS, temperature=0)
    expected = [by_transformers(adapted, prompt) for prompt in prompts]
    assert [list(group[0].token_ids) for group in groups] == expected
    assert tokens_of(groups) != tokens_of(plain)
    assert all(torch.equal(before[name], parameter) for name, parameter in adapted.named_parameters())


def test_a_model_of_another_shape_is_refused() -> None:
    engine = engine_of(tiny_model("llama"))
    with pytest.raises(ValueError, match="another shape"):
        engine.load_weights(tiny_model("llama", num_hidden_layers=2))
    assert decoder_for(torch.nn.Sequential()) is None


def test_a_stream_is_the_sample_token_by_token() -> None:
    engine = engine_of(tiny_model("llama"))
    prompt = some_prompts(1)[0]
    ((sample,),) = engine.generate([prompt], max_new_tokens=NEW_TOKENS, seed=5)
    assert tuple(engine.stream(prompt, max_new_tokens=NEW_TOKENS, seed=5)) == sample.token_ids


def test_progress_counts_finished_responses() -> None:
    heard: list[tuple[int, int]] = []
    engine = engine_of(tiny_model("llama"), max_batch=3)
    engine.generate(some_prompts(4), group_size=2, max_new_tokens=3, on_progress=lambda *now: heard.append(now))
    assert heard[-1] == (8, 8)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


@pytest.mark.parametrize("bad", [{"prompts": [[]]}, {"group_size": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}])
def test_what_cannot_be_generated_is_refused(bad: dict) -> None:
    engine = engine_of(tiny_model("llama"))
    with pytest.raises(ValueError, match=r"at least|must be"):
        engine.generate(**({"prompts": [[5]], "max_new_tokens": 1} | bad))


def tokens_of(groups: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[sample.token_ids for sample in group] for group in groups]


@pytest.mark.parametrize("fast", [True, False], ids=["decoder", "transformers"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_bfloat16_stays_close_to_float32(family: str, fast: bool) -> None:
    """Bfloat16 carries 8 bits: on these models log-probabilities are within 0.15 nats, and 0.03 on average."""
    model = tiny_model(family)
    engine = engine_of(model, dtype=torch.bfloat16)
    if not fast:
        engine.decoder = TransformersDecoder(model, torch.bfloat16)
    prompts = some_prompts()
    groups = engine.generate(prompts, group_size=4, max_new_tokens=NEW_TOKENS, seed=2)
    gaps = []
    for prompt, group in zip(prompts, groups, strict=True):
        for sample in group:
            table = log_softmax_by_forward(model, prompt, sample.token_ids)
            plain = table.gather(1, torch.tensor(sample.token_ids)[:, None])[:, 0]
            gaps.append((plain - torch.tensor(sample.logprobs)).abs())
    assert torch.cat(gaps).max() < 0.15
    assert torch.cat(gaps).mean() < 0.03
