"""What the training stages refuse before they train."""

from __future__ import annotations

import copy

import pytest
from tests.data.tiny_tokenizers import tiny as tiny_tokenizer
from tests.training.world import tiny_policy

from trimtab.errors import ModelError
from trimtab.pipeline.trained_models import check_same_tokens


def test_a_reward_model_must_read_the_policys_tokens() -> None:
    policy = tiny_policy()
    check_same_tokens(tiny_tokenizer("chatml"), policy)
    with pytest.raises(ModelError, match="another tokenizer or chat template"):
        check_same_tokens(tiny_tokenizer("llama3"), policy)
    other_words = copy.deepcopy(tiny_tokenizer("chatml"))
    other_words.chat_template = other_words.chat_template.replace("assistant", "helper")
    with pytest.raises(ModelError, match="another tokenizer or chat template"):
        check_same_tokens(other_words, policy)
