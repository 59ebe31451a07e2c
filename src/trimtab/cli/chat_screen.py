"""How answers are shown: streamed, in columns side by side, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trimtab.cli.wrap import WordWrap, printable
from trimtab.errors import UserError

if TYPE_CHECKING:
    from trimtab.generation.conversation import Conversation

NAME = "bold cyan"
LINES_AROUND = 4
"""Rows of the terminal that the columns' heads and the prompt take."""
SEPARATOR = 3
"""Width of what stands between two columns."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model that takes part, under the name it was asked for."""

    name: str
    conversation: Conversation


@dataclass(slots=True)
class Column:
    """What one model has written so far, and what is to be said about it."""

    speaker: Speaker
    pieces: Generator[str, None, None]
    text: str = ""
    note: str = ""

    @classmethod
    def of(cls, speaker: Speaker, message: str) -> Column:
        """An answer that is about to begin. Raises `UserError` with the model's name in front."""
        try:
            return cls(speaker, speaker.conversation.answer(message))
        except UserError as error:
            raise type(error)(f"{speaker.name}: {error}") from error

    def grow(self) -> bool:
        """Take the next piece; False when there is none."""
        piece = next(self.pieces, None)
        self.text += piece or ""
        return piece is not None


def grown(columns: Sequence[Column]) -> Iterator[None]:
    """Each time one more piece of every answer that is not finished."""
    growing = list(columns)
    while growing:
        growing = [column for column in growing if column.grow()]
        yield


class Screen(Protocol):
    """Shows the answers to a message."""

    def show(self, message: str) -> None:
        """Let the models answer. Raises `UserError` when one cannot; Ctrl-C leaves what was written as the answer."""


@dataclass(frozen=True, slots=True)
class JsonScreen:
    """One line of JSON a message: an object, or a list of them when there are several models."""

    speakers: Sequence[Speaker]

    def show(self, message: str) -> None:
        """Print what each answered, with its tokens and why it ended."""
        columns = [Column.of(speaker, message) for speaker in self.speakers]
        for _ in grown(columns):
            pass
        answers = [self._plain(speaker, message) for speaker in self.speakers]
        print(json.dumps(answers if len(answers) > 1 else answers[0], ensure_ascii=False), flush=True)

    def _plain(self, speaker: Speaker, message: str) -> dict[str, Any]:
        last = speaker.conversation.last
        return {
            "model": speaker.name,
            "message": message,
            "answer": last.text,
            "tokens": last.tokens,
            "finish_reason": last.finish_reason,
        }


@dataclass(frozen=True, slots=True)
class StreamScreen:
    """One model's answer as it is written: in a terminal under its name, elsewhere the bare text."""

    console: Console
    speaker: Speaker

    def show(self, message: str) -> None:
        """Print the pieces as they come."""
        with closing(self.speaker.conversation.answer(message)) as pieces:
            if self.console.is_terminal:
                self._stream(pieces)
            else:
                for piece in pieces:
                    print(piece, end="", flush=True)
                print(flush=True)

    def _stream(self, pieces: Generator[str, None, None]) -> None:
        label = f"{short(self.speaker.name)}: "
        self.console.print(label, style=NAME, end="", markup=False)
        wrap = WordWrap(self._write, self.console.width, column=cell_len(label))
        try:
            for piece in pieces:
                wrap.add(printable(piece))
        finally:
            wrap.flush()
            self._write("\n")
            pieces.close()
            if said := note(self.speaker.conversation):
                self.console.print(said, style="dim", markup=False)

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()


@dataclass(frozen=True, slots=True)
class ColumnScreen:
    """Several models' answers side by side. They write in turn, a piece each, so that they grow together."""

    console: Console
    speakers: Sequence[Speaker]

    def show(self, message: str) -> None:
        """Grow the columns in a terminal, where only their last lines are shown; then print them whole.

        The terminal writes ^C where the last line ends; there is room for it, so that no line is broken.
        """
        columns = [Column.of(speaker, message) for speaker in self.speakers]
        try:
            if self.console.is_terminal:
                with Live(console=self.console, transient=True, auto_refresh=False) as live:
                    for _ in grown(columns):
                        live.update(self._table(columns, self.console.height - LINES_AROUND), refresh=True)
            else:
                for _ in grown(columns):
                    pass
        finally:
            for column in columns:
                column.pieces.close()
                column.note = note(column.speaker.conversation)
            self.console.print(self._table(columns))

    def _table(self, columns: Sequence[Column], height: int | None = None) -> Table:
        width = (self.console.width - len("^C") - SEPARATOR * (len(columns) - 1)) // len(columns)
        table = Table(box=box.MINIMAL, show_edge=False, pad_edge=False)
        cells = []
        for column in columns:
            table.add_column(Text(column.speaker.name, style=NAME), width=width, overflow="fold")
            cell = Text(printable(column.text))
            cell.append(f"\n{column.note}" if column.note else "", style="dim")
            lines = list(cell.wrap(self.console, width))
            cells.append(Text("\n").join(lines[-height:] if height else lines))
        table.add_row(*cells)
        return table


def short(name: str) -> str:
    """A model's name in a few characters: the last part of a path or hub id."""
    return Path(name).name or name


def note(conversation: Conversation) -> str:
    """What a reader must know about how the last answer ended; nothing if the model ended it."""
    last = conversation.last
    if last.finish_reason == "stopped":
        return "(stopped)"
    if last.finish_reason == "stop":
        return ""
    if last.tokens < conversation.max_new_tokens:
        return "(cut: the conversation is as long as the model can read; /reset begins a new one)"
    return f"(cut at {last.tokens} tokens; --max-new-tokens allows more)"
