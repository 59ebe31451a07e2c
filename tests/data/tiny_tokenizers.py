"""Small tokenizers made in the process, one for each style of chat template."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "Coffee with the client, 12.50 EUR, category Meals. Approved by the travel desk.",
    "user assistant system answer question the quick brown fox jumps over the lazy dog",
    "Lunch for two at the station, 31 EUR. Missing receipt: ask the employee for it.",
] * 3

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}"
    "{% else %}{{ bos_token + '[INST] ' + m['content'] | trim + ' [/INST]' }}{% endif %}{% endfor %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Puts an empty thinking block before the last answer only, and cuts thoughts out of earlier turns.
THINKING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% set text = m['content'].split('</think>')[-1] %}"
    "{{ '<|im_start|>assistant\n' + ('<think>\n\n</think>\n\n' if loop.last else '') + text + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Opens a thought in the generation prompt that the full conversation does not have.
OPENED_THOUGHT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<think>\n' }}{% endif %}"
)
# Ends a turn with a newline only.
NO_END = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}assistant: "

CHATML_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
STYLES = {
    "chatml": (
        CHATML,
        CHATML_TOKENS,
        {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "unk_token": "<|endoftext|>"},
    ),
    "llama3": (
        LLAMA3,
        [
            "<|begin_of_text|>",
            "<|eot_id|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|end_of_text|>",
            "<|spare_0|>",
        ],
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    ),
    "gemma": (
        GEMMA,
        ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
    ),
    "mistral": (MISTRAL, ["<unk>", "<s>", "</s>"], {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "llama2": (LLAMA2, ["<unk>", "<s>", "</s>"], {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "zephyr": (ZEPHYR, ["<unk>", "<s>", "</s>"], {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}),
    "thinking": (THINKING, CHATML_TOKENS, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}),
    "opened_thought": (OPENED_THOUGHT, CHATML_TOKENS, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}),
    "no_end": (NO_END, CHATML_TOKENS, {"eos_token": "<|endoftext|>", "pad_token": "<|im_end|>"}),
    "plain": (None, ["<|endoftext|>", "<pad>"], {"eos_token": "<|endoftext|>", "pad_token": "<pad>"}),
}


def byte_level(special: list[str]) -> Tokenizer:
    """Byte-level BPE, as in GPT-2, Llama 3 and SmolLM2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*CORPUS, *special], trainer)
    return tokenizer


def sentencepiece_like(special: list[str]) -> Tokenizer:
    """BPE with byte fallback and a space put before every stretch of text, as in Llama 2 and Zephyr."""
    byte_tokens = [f"<0x{n:02X}>" for n in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    letters = sorted(set("".join(CORPUS)) - {"\n"})
    vocab = {token: n for n, token in enumerate(["<unk>", *special[1:], *byte_tokens, "▁", *letters])}
    merges: list[tuple[str, str]] = []
    for pair in [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "a"), ("E", "U"), ("EU", "R")]:
        vocab[pair[0] + pair[1]] = len(vocab)
        merges.append(pair)
    tokenizer.model = models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    return tokenizer


@cache
def tiny(style: str, sentencepiece: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with the chat template of one style."""
    template, special, names = STYLES[style]
    backend = (sentencepiece_like if sentencepiece else byte_level)(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=template, **names)
    tokenizer.add_special_tokens({"additional_special_tokens": [t for t in special if t not in names.values()]})
    return tokenizer
