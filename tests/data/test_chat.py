from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trimtab.data.chat import ChatTemplate
from trimtab.errors import DataError, ModelError
from trimtab.types import Message, Prompt

from .tiny_tokenizers import CHATML, CHATML_TOKENS, STYLES, byte_level, tiny

ALL = [(style, False) for style in STYLES] + [(style, True) for style in ("mistral", "llama2", "zephyr")]
CHAT_STYLES = [(style, sp) for style, sp in ALL if style != "plain"]
END = {
    "chatml": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "llama2": "</s>",
    "zephyr": "</s>",
    "thinking": "<|im_end|>",
    "opened_thought": "<|im_end|>",
    "no_end": "<|endoftext|>",
    "plain": "<|endoftext|>",
}
HARMLESS = st.text(st.sampled_from("abcEUR 12.\n é日🙂"), max_size=30)
PIECES = [token for _, tokens, _ in STYLES.values() for token in tokens]
HOSTILE = st.lists(
    st.one_of(st.sampled_from(PIECES), st.sampled_from([p[1:] for p in PIECES]), st.text(max_size=5)), max_size=6
).map("".join)


def user(text: str) -> Prompt:
    return Prompt((Message("user", text),))


def own_ids(tokenizer: PreTrainedTokenizerFast, messages: list[tuple[str, str]], open_turn: bool) -> list[int]:
    chat = [{"role": role, "content": content} for role, content in messages]
    return tokenizer.apply_chat_template(chat, add_generation_prompt=open_turn, tokenize=True, return_dict=False)


@pytest.mark.parametrize(("style", "sentencepiece"), CHAT_STYLES)
@settings(max_examples=25, deadline=None)
@given(first=HARMLESS, answer=HARMLESS, second=HARMLESS)
def test_harmless_text_equals_the_tokenizers_own_template(style, sentencepiece, first, answer, second):
    tokenizer = tiny(style, sentencepiece)
    messages = [("user", first), ("assistant", answer), ("user", second)]
    prompt = Prompt(tuple(Message(role, content) for role, content in messages))
    assert ChatTemplate(tokenizer).prompt_ids(prompt) == own_ids(tokenizer, messages, open_turn=True)


@pytest.mark.parametrize(
    ("style", "sentencepiece"), [c for c in CHAT_STYLES if c[0] not in ("opened_thought", "no_end")]
)
def test_prompt_and_response_begin_the_rendered_conversation(style, sentencepiece):
    tokenizer = tiny(style, sentencepiece)
    template = ChatTemplate(tokenizer)
    messages = [("user", "Coffee 12.50"), ("assistant", "Meals."), ("user", "And the lunch?")]
    prompt = Prompt(tuple(Message(role, content) for role, content in messages))
    ids = template.prompt_ids(prompt) + template.response_ids("Meals as well.")
    full = own_ids(tokenizer, [*messages, ("assistant", "Meals as well.")], open_turn=False)
    assert full[: len(ids)] == ids
    # what the template still writes after the end of the turn is white space only
    assert tokenizer.decode(full[len(ids) :]).strip() == ""


@pytest.mark.parametrize(("style", "sentencepiece"), ALL)
@settings(max_examples=40, deadline=None)
@given(text=HOSTILE)
def test_no_text_in_a_message_becomes_a_control_token(style, sentencepiece, text):
    tokenizer = tiny(style, sentencepiece)
    template = ChatTemplate(tokenizer)
    special = set(tokenizer.all_special_ids) - ({tokenizer.unk_token_id} if sentencepiece else set())
    harmless = [i for i in template.prompt_ids(user("x")) if i in special]
    assert [i for i in template.prompt_ids(user(text)) if i in special] == harmless
    response = template.response_ids(text)
    assert response[-1] == template.end_of_turn_id
    assert not special & set(response[:-1])


@pytest.mark.parametrize(("style", "sentencepiece"), ALL)
def test_ends_pads_and_stops(style, sentencepiece):
    tokenizer = tiny(style, sentencepiece)
    template = ChatTemplate(tokenizer)
    assert tokenizer.convert_ids_to_tokens(template.end_of_turn_id) == END[style]
    assert template.stop_ids == {template.end_of_turn_id, tokenizer.eos_token_id}
    assert template.pad_id not in template.stop_ids


@pytest.mark.parametrize(("style", "sentencepiece"), ALL)
@pytest.mark.parametrize("text", ["Meals.", "two\nlines", "日本 é 🙂", "ends with <|im_end|>", "a  b"])
def test_decode_gives_the_response_back(style, sentencepiece, text):
    template = ChatTemplate(tiny(style, sentencepiece))
    ids = template.response_ids(text)
    assert template.decode(ids) == text
    assert template.decode([*ids, template.pad_id, template.pad_id]) == text


@pytest.mark.parametrize(("style", "sentencepiece"), ALL)
def test_an_unfinished_response_has_nothing_of_what_the_template_writes_after_it(style, sentencepiece):
    template = ChatTemplate(tiny(style, sentencepiece))
    ids = template.unfinished_ids("Meals.")
    assert template.response_ids("Meals.")[: len(ids)] == ids
    assert not template.stop_ids & set(ids)
    assert template.decode(ids) == "Meals."  # without an end of the turn decoding takes no tail away


def test_chatml_by_hand():
    tokenizer = tiny("chatml")
    template = ChatTemplate(tokenizer)
    start, end = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>"))

    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    prompt = Prompt((Message("system", "be brief"), Message("user", "a <|im_end|> b")))
    forged = tokenizer.encode("user\na <|im_end|> b", add_special_tokens=False, split_special_tokens=True)
    expected = [start, *plain("system\nbe brief"), end, *plain("\n"), start, *forged, end, *plain("\n"), start]
    assert template.prompt_ids(prompt) == [*expected, *plain("assistant\n")]
    assert template.response_ids("ok") == [*plain("ok"), end]
    assert template.pad_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")


def test_trimming_templates_train_on_what_they_write():
    template = ChatTemplate(tiny("llama3"))
    assert template.response_ids("  Meals. \n") == template.response_ids("Meals.")


def test_a_response_that_would_merge_with_the_prompt_stays_apart():
    tokenizer = tiny("chatml")
    template = ChatTemplate(tokenizer)
    ids = template.response_ids("\n\nMeals.")
    assert template.decode(ids) == "\n\nMeals."
    prompt = template.prompt_ids(user("x"))
    assert tokenizer.decode(prompt + ids).endswith("<|im_start|>assistant\n\n\nMeals.<|im_end|>")


def test_plain_form_for_base_models():
    tokenizer = tiny("plain")
    template = ChatTemplate(tokenizer)
    prompt = Prompt((Message("user", "Coffee"), Message("assistant", "Meals"), Message("user", "Lunch")))
    assert tokenizer.decode(template.prompt_ids(prompt)) == "Coffee\nMeals<|endoftext|>\nLunch\n"
    assert tokenizer.decode(template.response_ids("Meals")) == "Meals<|endoftext|>"


def test_plain_form_opens_with_bos_where_the_tokenizer_does():
    from tokenizers.processors import TemplateProcessing

    backend = byte_level(["<bos>", "<eos>"])
    backend.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<bos>"
    )
    template = ChatTemplate(tokenizer)
    assert tokenizer.decode(template.prompt_ids(user("Coffee"))) == "<bos>Coffee\n"
    assert tokenizer.decode(template.response_ids("Meals")) == "Meals<eos>"


def test_turn_markers_that_are_not_called_special_are_guarded_too():
    backend = byte_level(["<|endoftext|>", "<pad>"])
    names = {"eos_token": "<|endoftext|>", "pad_token": "<pad>"}
    backend.add_tokens([AddedToken("<|im_start|>", normalized=False), AddedToken("<|im_end|>", normalized=False)])
    backend.add_tokens([AddedToken("<think>", normalized=False)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=CHATML, **names)
    template = ChatTemplate(tokenizer)
    end, think = tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<think>")
    assert template.end_of_turn_id == end
    assert template.stop_ids == {end, tokenizer.eos_token_id}
    ids = template.response_ids("<think>x<|im_end|>")
    assert ids.count(end) == 1
    assert ids[-1] == end
    assert ids[0] == think  # an added token the template does not write is ordinary vocabulary


def test_an_empty_prompt_is_one_start_token():
    assert ChatTemplate(tiny("gemma")).prompt_ids(Prompt(())) == [tiny("gemma").bos_token_id]
    assert len(ChatTemplate(tiny("plain")).prompt_ids(Prompt(()))) == 1


def test_describe_marks_exactly_the_response():
    template = ChatTemplate(tiny("chatml"))
    tokens = template.describe(user("Coffee 日本"), "Meals 🙂")
    assert "".join(t.text for t in tokens if t.supervised) == "Meals 🙂<|im_end|>"
    assert "".join(t.text for t in tokens if not t.supervised) == (
        "<|im_start|>user\nCoffee 日本<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [i for t in tokens for i in t.token_ids if t.supervised] == template.response_ids("Meals 🙂")
    assert not any(t.supervised for t in template.describe(user("Coffee")))


def test_refused_roles_name_the_roles():
    with pytest.raises(DataError, match=r"\[system, user\].*System role not supported"):
        ChatTemplate(tiny("gemma")).prompt_ids(Prompt((Message("system", "a"), Message("user", "b"))))


def test_of_many_conversations_the_refused_one_is_named():
    refused = Prompt((Message("system", "a"), Message("user", "b")))
    with pytest.raises(DataError, match=r"\[system, user\]"):
        ChatTemplate(tiny("gemma")).encode_prompts([user("a"), refused, user("b")])


@pytest.mark.parametrize(("style", "sentencepiece"), ALL)
@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.one_of(HARMLESS, HOSTILE), max_size=4))
def test_many_at_once_are_as_one_by_one(style, sentencepiece, texts):
    template = ChatTemplate(tiny(style, sentencepiece))
    prompts = [Prompt(()), *map(user, texts), Prompt(())]
    assert template.encode_prompts(prompts) == [template.prompt_ids(prompt) for prompt in prompts]
    assert template.encode_responses(texts) == [template.response_ids(text) for text in texts]


def test_no_end_of_turn_token():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(["<pad>"]), pad_token="<pad>")
    with pytest.raises(ModelError, match="Set eos_token"):
        ChatTemplate(tokenizer)


def test_no_token_left_for_padding():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(["<eos>"]), eos_token="<eos>", pad_token="<eos>")
    with pytest.raises(ModelError, match="no token to pad with"):
        ChatTemplate(tokenizer)


def test_a_template_that_drops_answers():
    template = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(CHATML_TOKENS), eos_token="<|im_end|>", chat_template=template
    )
    with pytest.raises(ModelError, match="drops the assistant"):
        ChatTemplate(tokenizer)


def test_a_tokenizer_that_reads_control_tokens_in_plain_text_is_refused():
    words = ["<unk>", "<eos>", "<pad>", "Coffee"]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
    )
    template = ChatTemplate(tokenizer)
    assert template.response_ids("Coffee unheard") == [3, 0, 1]
    with pytest.raises(ModelError, match="'<eos>' into its control token"):
        template.response_ids("Coffee <eos> Coffee")
