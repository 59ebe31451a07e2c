"""Text to tokens where only the chat template may write control tokens.

A control token is one that steers a conversation (`<|im_end|>`): every special token, and every other added token the
template writes. The same characters inside a message are plain text. `guard` hides them before the template is
rendered; `encode` then takes every control token it still sees as the template's own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from trimtab.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class GuardedEncoder:
    """Encodes rendered templates in one pass, so that text is cut into tokens exactly as the tokenizer would alone.

    It works on a copy of the tokenizer that no longer recognises control tokens, but recognises one unguessable
    stand-in for each. The template's control tokens are exchanged for their stand-ins, a message's are left as they
    are, and the stand-ins' ids are mapped back after encoding.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template_tokens: Collection[str]) -> None:
        from tokenizers import AddedToken

        self._copy = _copy_backend(tokenizer)
        added = tokenizer.added_tokens_decoder
        control = {i: token for i, token in added.items() if token.special or token.content in template_tokens}
        # unk may stand for text the vocabulary lacks, unless it also ends the conversation
        harmless_unknown = {tokenizer.unk_token_id} - {tokenizer.eos_token_id}
        self._forbidden = frozenset(control) - harmless_unknown

        nonce = secrets.token_hex(8)
        longest_first = sorted(control.items(), key=lambda item: -len(item[1].content))
        self._pattern = re.compile("|".join(re.escape(token.content) for _, token in longest_first) or "(?!)")
        self._stand_in = {token.content: f"qz{nonce}x{i}zq" for i, token in control.items()}
        self._hidden = {token.content: f"qh{nonce}x{i}hq" for i, token in control.items()}
        self._hidden_pattern = re.compile(f"qh{nonce}x([0-9]+)hq")
        self._content = {i: token.content for i, token in control.items()}

        self._copy.add_special_tokens(
            [AddedToken(t.content, special=True, normalized=t.normalized) for t in control.values()]
        )
        self._copy.add_tokens(
            [
                AddedToken(self._stand_in[t.content], lstrip=t.lstrip, rstrip=t.rstrip, normalized=t.normalized)
                for t in control.values()
            ]
        )
        self._boundary = f"qb{nonce}bq"
        self._copy.add_tokens([AddedToken(self._boundary, normalized=False)])
        self._copy.encode_special_tokens = True
        self._control_id = {self._copy.token_to_id(self._stand_in[t.content]): i for i, t in control.items()}

    def guard(self, text: str) -> str:
        """A message's text with every control-token string hidden from the template and from `encode`."""
        return self._pattern.sub(lambda match: self._hidden[match.group()], text)

    def encode(self, rendered: str) -> list[int]:
        """Token ids of a rendered template whose messages went through `guard`."""
        return self.encode_all([rendered])[0]

    def encode_all(self, rendered: Sequence[str]) -> list[list[int]]:
        """Token ids of each of several rendered templates, faster than one by one."""
        return self._ids(list(map(self._mark, rendered)))

    def encode_apart(self, rendered: str) -> list[int]:
        """Token ids of text that goes on after other text but shares no token with it."""
        return self._ids([self._boundary + self._mark(rendered)])[0][1:]

    def first_control_token(self, rendered: str) -> re.Match[str] | None:
        """Where the template's first control token stands in a rendered text."""
        return self._pattern.search(rendered)

    def _mark(self, rendered: str) -> str:
        marked = self._pattern.sub(lambda match: self._stand_in[match.group()], rendered)
        return self._hidden_pattern.sub(lambda match: self._content[int(match.group(1))], marked)

    def _ids(self, marked: list[str]) -> list[list[int]]:
        found = []
        for text, encoding in zip(marked, self._copy.encode_batch_fast(marked, add_special_tokens=False), strict=True):
            ids = encoding.ids
            if not self._forbidden.isdisjoint(ids):
                raise self._forged(text)
            found.append([self._control_id.get(i, i) for i in ids])
        return found

    def _forged(self, marked: str) -> ModelError:
        """The error of a text in which plain characters became a control token."""
        encoding = self._copy.encode(marked, add_special_tokens=False)
        token_id, (start, end) = next(
            pair for pair in zip(encoding.ids, encoding.offsets, strict=True) if pair[0] in self._forbidden
        )
        return ModelError(
            f"This tokenizer turns the plain text {marked[start:end]!r} into its control token "
            f"{self._content[token_id]!r}, so a message could end a turn. Remove that text from the data or "
            "use another tokenizer."
        )


def _copy_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"The tokenizer of {tokenizer.name_or_path or 'this model'} has no tokenizer.json (it is a "
            f"{type(tokenizer).__name__}). Save it as a fast tokenizer first: AutoTokenizer.from_pretrained(...)"
            ".save_pretrained(folder)."
        )
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy
