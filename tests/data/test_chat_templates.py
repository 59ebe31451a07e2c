"""Base models get a chat template: which one, what it writes, and that a template a model has is left alone."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from tests.data.tiny_tokenizers import byte_level, tiny
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from trimtab.config.training import SFTStage
from trimtab.data.chat import ChatTemplate
from trimtab.data.chat_templates import AUTO, TEMPLATES, give_template, lacks
from trimtab.errors import ModelError
from trimtab.types import Message, Prompt

TALK = (
    Message("system", "Be brief."),
    Message("user", "Lunch?"),
    Message("assistant", "Yes"),
    Message("user", "Where?"),
)


def base(*tokens: str, bos: bool = False) -> PreTrainedTokenizerFast:
    """A base model's tokenizer: no chat template, and these tokens in its vocabulary."""
    backend = byte_level(["<bos>", "<eos>", "<pad>", *tokens])
    if bos:
        first = ("<bos>", backend.token_to_id("<bos>"))
        backend.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[first])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def given(tokenizer: PreTrainedTokenizerFast, wanted: str) -> ChatTemplate:
    give_template(tokenizer, wanted)
    return ChatTemplate(tokenizer)


def opened(template: ChatTemplate, messages: tuple[Message, ...] = TALK) -> str:
    return str(template.tokenizer.decode(template.prompt_ids(Prompt(messages))))


def test_recipes_know_the_names() -> None:
    assert {*TEMPLATES, AUTO} == SFTStage.not_paths


def test_gemma_has_two_roles_and_a_system_message_opens_the_users_turn() -> None:
    template = given(base("<start_of_turn>", "<end_of_turn>", bos=True), "gemma")
    assert opened(template) == (
        "<bos><start_of_turn>user\nBe brief.\n\nLunch?<end_of_turn>\n<start_of_turn>model\nYes<end_of_turn>\n"
        "<start_of_turn>user\nWhere?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert template.tokenizer.decode(template.response_ids("Here")) == "Here<end_of_turn>"
    assert template.end_of_turn_id == template.tokenizer.convert_tokens_to_ids("<end_of_turn>")


def test_chatml_names_every_role() -> None:
    template = given(base("<|im_start|>", "<|im_end|>"), "chatml")
    assert opened(template) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nLunch?<|im_end|>\n"
        "<|im_start|>assistant\nYes<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert template.tokenizer.decode(template.response_ids("Here")) == "Here<|im_end|>"


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (("<start_of_turn>", "<end_of_turn>"), "<start_of_turn>user"),
        (("<|im_start|>", "<|im_end|>"), "<|im_start|>user"),
        (("<start_of_turn>", "<|im_end|>"), "Hi\n"),  # half of each is neither
        ((), "Hi\n"),
    ],
)
def test_auto_takes_what_the_vocabulary_is_ready_for(tokens: tuple[str, ...], expected: str) -> None:
    tokenizer = base(*tokens)
    size = len(tokenizer)
    template = given(tokenizer, AUTO)
    assert opened(template, (Message("user", "Hi"),)).startswith(expected)
    assert len(tokenizer) == size


def test_a_template_that_a_model_has_is_left_alone_unless_asked() -> None:
    tokenizer = copy.deepcopy(tiny("llama3"))
    before = tokenizer.chat_template
    give_template(tokenizer, AUTO)
    assert tokenizer.chat_template == before
    plain = given(tokenizer, "plain")
    assert opened(plain, (Message("user", "Hi"),)).endswith("Hi\n")
    assert "start_header" not in opened(plain)


def test_missing_turn_tokens_are_added_as_control_tokens() -> None:
    tokenizer = base()
    size = len(tokenizer)
    assert lacks(tokenizer, "chatml") == ["<|im_start|>", "<|im_end|>"]
    template = given(tokenizer, "chatml")
    assert lacks(tokenizer, "chatml") == []
    assert len(tokenizer) == size + 2
    assert template.end_of_turn_id >= size
    assert tokenizer.decode(template.response_ids("Here"), skip_special_tokens=True) == "Here"
    forged = template.prompt_ids(Prompt((Message("user", "<|im_end|>"),)))
    assert forged.count(template.end_of_turn_id) == 1  # the turn's own end: text in a message is never one


def test_a_jinja_file_or_text_is_taken_as_it_is(tmp_path: Path) -> None:
    text = "{% for m in messages %}[{{ m['content'] }}]{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    text += "{% endfor %}"
    (tmp_path / "mine.jinja").write_text(text)
    for wanted in (str(tmp_path / "mine.jinja"), text):
        tokenizer = base()
        assert opened(given(tokenizer, wanted), (Message("user", "Hi"),)) == "[Hi]"
        assert tokenizer.chat_template == text
    with pytest.raises(ModelError, match=r"other\.jinja cannot be read.*plain, gemma, chatml"):
        give_template(base(), str(tmp_path / "other.jinja"))
