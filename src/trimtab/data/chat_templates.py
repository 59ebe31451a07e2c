"""Chat templates for base models, which come without one: how turns are written, and which of them a model is given.

A base model's vocabulary often holds the tokens of its family's turns already, because the family's chat models share
it; a template that uses them costs no new token. Every template here ends each answer with one control token, so that a
model can learn to stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Template:
    """A chat template in Jinja, without the bos that some tokenizers put first, and the turn tokens it writes."""

    text: str
    turn_tokens: tuple[str, ...] = ()


# Every message is "text\n", and eos ends the response: the only template that needs no token but eos.
PLAIN = Template(
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
)
CHATML = Template(
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
)
# Gemma knows two roles, user and model; a system message opens the user's turn that follows it.
GEMMA = Template(
    "{% for message in messages %}"
    "{% set continued = loop.previtem is defined and loop.previtem['role'] == 'system' %}"
    "{% if not continued %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}"
    "{% endif %}{{ message['content'] }}"
    "{{ '\n\n' if message['role'] == 'system' else '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ("<start_of_turn>", "<end_of_turn>"),
)

TEMPLATES: Mapping[str, Template] = {"plain": PLAIN, "gemma": GEMMA, "chatml": CHATML}
AUTO = "auto"


def give_template(tokenizer: PreTrainedTokenizerBase, wanted: str) -> None:
    """Give a tokenizer a chat template: a name in `TEMPLATES`, the path of a Jinja file, or a text in Jinja.

    With `AUTO` it keeps the one it has; a tokenizer without one gets the first whose turn tokens its vocabulary holds,
    and else stays plain. Turn tokens that the vocabulary lacks are added to it, so the model's embeddings may have to
    grow. Raises `ModelError` for a file that cannot be read.
    """
    if wanted == AUTO:
        if tokenizer.chat_template:
            return
        wanted = next(
            (name for name, one in TEMPLATES.items() if one.turn_tokens and not lacks(tokenizer, name)), "plain"
        )
    if wanted == "plain":
        tokenizer.chat_template = None  # `ChatTemplate` writes the plain form, and a saved model says so
    elif wanted in TEMPLATES:
        template = TEMPLATES[wanted]
        tokenizer.chat_template = ("{{ bos_token }}" if adds_bos(tokenizer) else "") + template.text
        tokenizer.add_tokens([*template.turn_tokens], special_tokens=True)  # those in the vocabulary keep their ids
    else:
        tokenizer.chat_template = wanted if "{" in wanted else _read(Path(wanted))


def lacks(tokenizer: PreTrainedTokenizerBase, wanted: str) -> list[str]:
    """The turn tokens of a template in `TEMPLATES` that are not in the vocabulary. Any other template adds none."""
    vocabulary = tokenizer.get_vocab()
    return [token for token in TEMPLATES.get(wanted, PLAIN).turn_tokens if token not in vocabulary]


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts bos before every text by itself."""
    ids = tokenizer("").input_ids
    return tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(TEMPLATES)
        raise ModelError(f"chat template {path} cannot be read: {error}. The names of templates are {names}") from error
