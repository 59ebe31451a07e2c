"""What the training stages refuse before they train."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.data.tiny_tokenizers import tiny as tiny_tokenizer
from tests.training.world import tiny_policy

from trimtab.config import Runtime, SFTStage
from trimtab.errors import ModelError
from trimtab.models.policy import Policy
from trimtab.pipeline.trained_models import check_same_tokens, load_for_training


def test_a_reward_model_must_read_the_policys_tokens() -> None:
    policy = tiny_policy()
    check_same_tokens(tiny_tokenizer("chatml"), policy)
    with pytest.raises(ModelError, match="another tokenizer or chat template"):
        check_same_tokens(tiny_tokenizer("llama3"), policy)
    other_words = copy.deepcopy(tiny_tokenizer("chatml"))
    other_words.chat_template = other_words.chat_template.replace("assistant", "helper")
    with pytest.raises(ModelError, match="another tokenizer or chat template"):
        check_same_tokens(other_words, policy)


def test_an_adapter_cannot_learn_the_tokens_of_a_new_template(tmp_path: Path) -> None:
    """All weights can; and a template whose tokens are there can be learnt by either."""
    policy = tiny_policy()  # its vocabulary has ChatML's tokens, not Gemma's
    policy.save(tmp_path / "model")
    context: Any = SimpleNamespace(runtime=Runtime(device="cpu", threads=1, precision="fp32"), seed=1)

    def load(adapter: bool, wanted: str) -> Policy:
        settings = {"model": str(tmp_path / "model"), "data": "x"} | ({} if adapter else {"adapter": None})
        return load_for_training(SFTStage(**settings), {}, context, chat_template=wanted)

    with pytest.raises(ModelError, match=r"no <start_of_turn> and <end_of_turn>.*adapter: null"):
        load(True, "gemma")
    assert load(True, "chatml").template.end_of_turn_id == policy.template.end_of_turn_id
    assert load(False, "gemma").template.end_of_turn_id == len(policy.tokenizer) + 1
