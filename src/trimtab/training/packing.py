"""Packing: documents one after another in rows of one length, so that no token is padding.

    row:  [ start | end of document 1 | document 2 | beginning of document 3 ]
    next: [ start | more of document 3 | ... ]

Each document, or what of it lies in the row, is a response of its own to the start token (`models/rows.py`), so no
document sees another, and every token of the text is predicted exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trimtab.data.text import Piece
from trimtab.data.text_tokens import TextTokens
from trimtab.errors import DataError
from trimtab.models.rows import TokenRow
from trimtab.training.row_files import TokenRowFile, write_token_rows
from trimtab.training.run import Run


def packed_rows(pieces: Iterable[Piece], tokens: TextTokens, *, length: int, run: Run) -> TokenRowFile:
    """A text in rows of `length` tokens in the run's state folder; rows that are there already are taken as they are.

    Raises `DataError` for a text without a token.
    """
    folder = run.state / "text"
    if not folder.is_dir():
        write_token_rows(folder, pack(tokens.stream(pieces), tokens.start_id, tokens.end_id, length=length))
    rows = TokenRowFile(folder)
    if not len(rows):
        raise DataError("there is no text to learn from")
    return rows


def pack(stream: Iterable[int], start_id: int, end_id: int, *, length: int) -> Iterator[TokenRow]:
    """Cut a stream of documents, each ended by `end_id`, into rows of `length` tokens; the last may be shorter."""
    if length < 2:
        raise ValueError("a row has room for the start token and one more at least")
    responses: list[list[int]] = [[]]
    room = length - 1
    for token in stream:
        if not room:
            yield _row(start_id, responses)
            responses, room = [[]], length - 1
        responses[-1].append(token)
        room -= 1
        if token == end_id:
            responses.append([])
    if room < length - 1:
        yield _row(start_id, responses)


def _row(start_id: int, responses: list[list[int]]) -> TokenRow:
    return TokenRow((start_id,), tuple(tuple(response) for response in responses if response))
