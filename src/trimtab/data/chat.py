"""Messages to tokens with an exact loss mask: the only code that knows about chat templates.

A demonstration is `prompt_ids + response_ids`; exactly the response ids are supervised. They are what the model itself
has to write: the response, then the token with which this template ends a turn. Both come from rendering the model's
own template, never from a table of known templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from trimtab.data.chat_templates import PLAIN, adds_bos
from trimtab.data.encoder import GuardedEncoder
from trimtab.errors import DataError, ModelError
from trimtab.types import Message, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUESTION = Message("user", "question")
_ANSWER = "answer"


class LabelledToken(NamedTuple):
    """A token as text, for display, and whether the loss sees it. Tokens that share a character are shown as one."""

    text: str
    token_ids: tuple[int, ...]
    supervised: bool


@dataclass(frozen=True)
class _Frame:
    """What a template writes around the content of a last assistant message."""

    start: str  # before anything the model writes
    lead: str  # what the model writes before the content (a space, an empty thinking block)
    tail: str  # what the model writes after the content, up to and with the end-of-turn token
    after: str  # all that the template itself writes after the content


class ChatTemplate:
    """A tokenizer's chat template as prompt tokens, response tokens and stop tokens.

    Text in messages is never read as a special token, whatever it contains. On text without special-token strings
    `prompt_ids` equals the tokenizer's own `apply_chat_template(..., add_generation_prompt=True)`. A tokenizer without
    a chat template gets the plain form: every message is its text and a newline, and eos ends a response.

    Raises `ModelError` for a tokenizer that has no end-of-turn token, no token left for padding, or no tokenizer.json.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.is_plain = not tokenizer.chat_template
        self._encoder = GuardedEncoder(tokenizer, self._template_tokens())
        self._frame, self._end_of_turn = self._find_frame()
        self.end_of_turn_id = tokenizer.added_tokens_encoder[self._end_of_turn]
        eos = tokenizer.eos_token_id
        self.stop_ids = frozenset({self.end_of_turn_id} if eos is None else {self.end_of_turn_id, eos})
        self.pad_id = self._choose_pad()
        self._context_ids = self._encoder.encode(self._frame.start)
        self._context = self._to_text(self._context_ids)
        self._lead_text = self._after_context(self._continue([self._frame.lead])[0])
        self._tail_text = self._frame.tail.removesuffix(self._end_of_turn)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Tokens of the conversation and the opening of the assistant's turn. An empty prompt is one start token."""
        return self.encode_prompts([prompt])[0]

    def encode_prompts(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """`prompt_ids` of each of several prompts, faster than one by one."""
        rendered = self._render([prompt.messages for prompt in prompts if prompt.messages], open_turn=True)
        encoded = iter(self._encoder.encode_all(rendered))
        return [next(encoded) if prompt.messages else [self._start_id()] for prompt in prompts]

    def response_ids(self, text: str) -> list[int]:
        """Tokens the model should write: the response as the template writes it, then the end-of-turn token."""
        return self.encode_responses([text])[0]

    def encode_responses(self, texts: Sequence[str]) -> list[list[int]]:
        """`response_ids` of each of several responses, faster than one by one."""
        return self._continue([begun + self._frame.tail for begun in self._begun(texts)])

    def unfinished_ids(self, text: str) -> list[int]:
        """Tokens of a response that may go on: as the template writes it, without all that it puts after the text."""
        return self._continue(self._begun([text]))[0]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Response tokens as text, up to the first stop token and without what the template itself adds."""
        stop = next((n for n, token in enumerate(token_ids) if token in self.stop_ids), None)
        text = self._after_context(list(token_ids[:stop])).removeprefix(self._lead_text)
        return text if stop is None else text.removesuffix(self._tail_text)

    def describe(self, prompt: Prompt, response: str | None = None) -> list[LabelledToken]:
        """Every token of a prompt, and of a response to it, with whether it is supervised. For display."""
        supervised = [] if response is None else self.response_ids(response)
        return self._labelled(self.prompt_ids(prompt), False) + self._labelled(supervised, True)

    def plain_form(self) -> str:
        """The plain form as a chat template, to be saved: it writes the bos that the tokenizer puts before a text."""
        return ("{{ bos_token }}" if adds_bos(self.tokenizer) else "") + PLAIN.text

    def _labelled(self, token_ids: Sequence[int], supervised: bool) -> list[LabelledToken]:
        labelled: list[LabelledToken] = []
        waiting: tuple[int, ...] = ()
        for number, token_id in enumerate(token_ids, start=1):
            waiting += (token_id,)
            text = str(self.tokenizer.decode(list(waiting)))
            if not text.endswith("\N{REPLACEMENT CHARACTER}") or number == len(token_ids):
                labelled.append(LabelledToken(text, waiting, supervised))
                waiting = ()
        return labelled

    def _begun(self, texts: Sequence[str]) -> list[str]:
        """What the model writes of each response, up to the end of its text."""
        rendered = self._render([(_QUESTION, Message("assistant", text)) for text in texts], open_turn=False)
        return [self._up_to_the_tail(full, text) for full, text in zip(rendered, texts, strict=True)]

    def _up_to_the_tail(self, full: str, text: str) -> str:
        """What the model writes of a rendered conversation that ends with its response, without the tail."""
        frame = self._frame
        if full.startswith(frame.start) and full[len(frame.start) :].endswith(frame.after):
            return full[len(frame.start) : len(full) - len(frame.after)]
        # the template rewrites what surrounds the response because of its text
        return frame.lead + self._encoder.guard(text)

    def _render(self, conversations: Sequence[Sequence[Message]], *, open_turn: bool) -> list[str]:
        """Conversations as text, from what opens every text on; what looks like a control token in them is hidden."""
        guarded = [[Message(m.role, self._encoder.guard(m.content)) for m in messages] for messages in conversations]
        start = self._start_of_text()
        return [start + text for text in self._apply(guarded, open_turn)]

    def _apply(self, conversations: Sequence[Sequence[Message]], open_turn: bool) -> list[str]:
        from jinja2 import TemplateError

        if not conversations:
            return []
        try:
            return self.tokenizer.apply_chat_template(
                [[{"role": m.role, "content": m.content} for m in messages] for messages in conversations],
                chat_template=PLAIN.text if self.is_plain else None,
                add_generation_prompt=open_turn,
                tokenize=False,
            )
        except TemplateError as error:
            if len(conversations) > 1:  # find the one that is refused
                return [text for messages in conversations for text in self._apply([messages], open_turn)]
            roles = ", ".join(m.role for m in conversations[0])
            raise DataError(
                f"The chat template of {self._name()} refuses a conversation with the roles [{roles}]: {error}. Change "
                "the rows, or choose a model whose template accepts these roles."
            ) from error

    def _template_tokens(self) -> list[str]:
        """Added tokens the template writes, whether or not the tokenizer calls them special."""
        (rendered,) = self._apply([(_QUESTION, Message("assistant", _ANSWER), _QUESTION)], open_turn=True)
        added = [token.content for token in self.tokenizer.added_tokens_decoder.values()]
        return [token for token in added if token in rendered and not token.isspace() and not token.isalnum()]

    def _find_frame(self) -> tuple[_Frame, str]:
        (opened,) = self._render([(_QUESTION,)], open_turn=True)
        (full,) = self._render([(_QUESTION, Message("assistant", _ANSWER))], open_turn=False)
        before, found, after = full.rpartition(_ANSWER)
        if not found:
            raise ModelError(
                f"The chat template of {self._name()} drops the assistant's messages; it cannot be trained."
            )
        start = opened if before.startswith(opened) else before
        lead = before[len(start) :]
        end = self._encoder.first_control_token(after)
        if end is not None:
            return _Frame(start, lead, after[: end.end()], after), end.group()
        if self.tokenizer.eos_token is None:
            raise ModelError(
                f"The tokenizer of {self._name()} has no end-of-turn token: its chat template writes no special token "
                "after an answer and eos_token is not set. Set eos_token in tokenizer_config.json."
            )
        return _Frame(start, lead, self.tokenizer.eos_token, after), self.tokenizer.eos_token

    def _continue(self, written: Sequence[str]) -> list[list[int]]:
        """Tokens of texts that follow the opened turn. The opening keeps its own tokens, as it does in generation."""
        opening, found = self._context_ids, []
        for text, ids in zip(written, self._encoder.encode_all([self._frame.start + w for w in written]), strict=True):
            opens = ids[: len(opening)] == opening
            found.append(ids[len(opening) :] if opens else self._encoder.encode_apart(text))
        return found

    def _choose_pad(self) -> int:
        tokenizer = self.tokenizer
        preferred = [tokenizer.pad_token_id, tokenizer.unk_token_id]
        special = [i for i, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
        used = set(self._encoder.encode(self._frame.start)) | {tokenizer.bos_token_id}
        spare = [i for i in special if i not in used]
        for candidate in preferred + spare:
            if candidate is not None and candidate not in self.stop_ids:
                return candidate
        raise ModelError(
            f"The tokenizer of {self._name()} has no token to pad with: every special token it has ends or opens a "
            "turn. Add one (tokenizer.add_special_tokens({'pad_token': '<pad>'})) and resize the model's embeddings."
        )

    def _start_of_text(self) -> str:
        """What the plain form opens with: bos, for tokenizers that put it there themselves."""
        if self.is_plain and adds_bos(self.tokenizer):
            return str(self.tokenizer.bos_token)
        return ""

    def _start_id(self) -> int:
        start = self.tokenizer.bos_token_id
        return self.end_of_turn_id if start is None else start

    def _after_context(self, token_ids: list[int]) -> str:
        """Text of tokens that follow the opened turn; decoding them alone could lose a leading space."""
        return self._to_text(self._context_ids + token_ids)[len(self._context) :]

    def _to_text(self, token_ids: list[int]) -> str:
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _name(self) -> str:
        return self.tokenizer.name_or_path or "this model"
