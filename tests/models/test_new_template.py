"""A base model with a template that was chosen for it: saved, and read by stock transformers with the same result."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from tests.data.test_chat_templates import base
from tests.models.tiny import tiny_model
from tests.training.world import prompts
from transformers import AutoModelForCausalLM, AutoTokenizer

from trimtab.data.chat import ChatTemplate
from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.models.loading import load_policy
from trimtab.models.policy import Policy
from trimtab.models.trunk import Trunk


def save_base(folder: Path, family: str, tied: bool, *tokens: str) -> None:
    tokenizer = base(*tokens, bos=True)
    model = tiny_model(family, vocab_size=len(tokenizer), tie_word_embeddings=tied)
    Policy(Trunk(model), tokenizer, ChatTemplate(copy.deepcopy(tokenizer))).trunk.causal_lm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("family", "tied", "wanted", "tokens"),
    [
        ("gemma3", True, "auto", ("<start_of_turn>", "<end_of_turn>")),
        ("llama", True, "chatml", ()),
        ("qwen2", False, "chatml", ()),
        ("llama", True, "plain", ()),
    ],
)
def test_transformers_reads_and_writes_as_we_do(
    tmp_path: Path, family: str, tied: bool, wanted: str, tokens: tuple[str, ...]
) -> None:
    save_base(tmp_path / "base", family, tied, *tokens)
    policy = load_policy(str(tmp_path / "base"), chat_template=wanted)
    policy.save(tmp_path / "chat")
    (prompt,) = prompts(1)
    (group,) = complete(Engine.of(policy), policy.template, [prompt], group_size=1, max_new_tokens=12, temperature=0.0)
    ours = group[0].token_ids

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "chat")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "chat")
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "question 0"}], add_generation_prompt=True, return_tensors="pt"
    )
    assert said["input_ids"][0].tolist() == policy.template.prompt_ids(prompt)
    assert policy.template.end_of_turn_id in model.generation_config.eos_token_id
    out = model.generate(**said, max_new_tokens=12, do_sample=False)[0, said["input_ids"].shape[1] :]
    assert out.tolist() == list(ours)
    assert load_policy(str(tmp_path / "chat")).template.prompt_ids(prompt) == policy.template.prompt_ids(prompt)


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_are_embedded_as_the_mean_of_the_others(tmp_path: Path, tied: bool) -> None:
    save_base(tmp_path, "llama", tied)
    before = load_policy(str(tmp_path)).trunk.causal_lm
    after = load_policy(str(tmp_path), chat_template="chatml").trunk.causal_lm
    for which in ("get_input_embeddings", "get_output_embeddings"):
        old, new = (getattr(model, which)().weight.detach() for model in (before, after))
        assert len(new) == len(old) + 2
        assert torch.equal(new[:-2], old)
        for row in new[-2:]:
            torch.testing.assert_close(row, old.double().mean(0).float())
    assert after.config.vocab_size == before.config.vocab_size + 2
