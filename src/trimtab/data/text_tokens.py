"""Plain text to tokens: no chat template, and nothing in a text becomes a control token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from trimtab.data.encoder import GuardedEncoder
from trimtab.data.text import Piece
from trimtab.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextTokens:
    """A tokenizer on plain text. `start_id` comes before every text, `end_id` after every document.

    They are the tokenizer's bos and eos tokens; without a bos token, eos is both. Raises `ModelError` without either.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no end-of-text token to put between documents: set eos_token in its "
                "tokenizer_config.json"
            )
        self._tokenizer, self._encoder = tokenizer, GuardedEncoder(tokenizer, ())
        self.end_id: int = tokenizer.eos_token_id
        self.start_id: int = self.end_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id

    def encode(self, text: str) -> list[int]:
        """Tokens of a text that may go on after another."""
        return self._encoder.encode_apart(self._encoder.guard(text)) if text else []

    def stream(self, pieces: Iterable[Piece]) -> Iterator[int]:
        """Tokens of documents one after another, each followed by `end_id`, which stands nowhere else."""
        for piece in pieces:
            yield from self.encode(piece.text)
            if piece.ends:
                yield self.end_id

    def decode_after(self, context: Sequence[int], token_ids: Sequence[int]) -> str:
        """Text of tokens that follow others; decoding them alone could lose a leading space."""
        return self._decode([*context, *token_ids])[len(self._decode(context)) :]

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
