"""What answers look like in a terminal."""

from __future__ import annotations

import io
from collections.abc import Generator, Sequence

import pytest
from rich.console import Console

from trimtab.cli.chat_screen import ColumnScreen, Speaker, StreamScreen, note
from trimtab.errors import ModelError
from trimtab.generation.conversation import Answer

MODELS = ("runs/demo/sft", "smollm2-135m-instruct")


class Scripted:
    """A conversation whose answers are known. A piece that is an exception is raised."""

    max_new_tokens = 8

    def __init__(self, *pieces: str | BaseException, finish_reason: str = "stop", tokens: int = 8) -> None:
        self.pieces, self.finish_reason, self.tokens = pieces, finish_reason, tokens
        self.last = Answer("", 0, "stop")

    def answer(self, text: str) -> Generator[str, None, None]:
        if self.pieces and isinstance(self.pieces[0], ModelError):
            raise self.pieces[0]
        return self._write()

    def _write(self) -> Generator[str, None, None]:
        reason = "stopped"
        try:
            for piece in self.pieces:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
            reason = self.finish_reason
        finally:
            self.last = Answer("", self.tokens, reason)  # type: ignore[arg-type]


def terminal(width: int = 60, height: int = 24) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, height=height)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def stream(console: Console, conversation: Scripted) -> StreamScreen:
    return StreamScreen(console, Speaker(MODELS[0], conversation))  # type: ignore[arg-type]


def columns(console: Console, conversations: Sequence[Scripted]) -> ColumnScreen:
    speakers = [Speaker(name, one) for name, one in zip(MODELS, conversations, strict=True)]  # type: ignore[arg-type]
    return ColumnScreen(console, speakers)


def test_an_answer_stands_behind_the_models_short_name() -> None:
    console = terminal(width=20)
    stream(console, Scripted("one two", " three four", " \x1b[2J[bold]")).show("hello")
    assert shown(console) == "sft: one two three\nfour �[2J[bold]\n"


def test_a_cut_answer_says_so() -> None:
    console = terminal()
    stream(console, Scripted("one", finish_reason="length")).show("hello")
    assert shown(console) == "sft: one\n(cut at 8 tokens; --max-new-tokens allows more)\n"


def test_a_full_conversation_says_so() -> None:
    cut = Scripted()
    cut.last = Answer("", 5, "length")
    assert "as long as the model can read" in note(cut)  # type: ignore[arg-type]


def test_a_stopped_answer_shows_what_was_written() -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt):
        stream(console, Scripted("one two", " three", KeyboardInterrupt())).show("hello")
    assert shown(console) == "sft: one two three\n(stopped)\n"


def test_elsewhere_than_in_a_terminal_only_the_answer_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    stream(Console(file=io.StringIO()), Scripted("one\x1b", " two", finish_reason="length")).show("hello")
    assert capsys.readouterr().out == "one\x1b two\n"


def last_table(console: Console) -> list[list[str]]:
    """The cells of what was printed last, without the frames that were shown before it."""
    lines = [line for line in shown(console).split("\x1b[2K")[-1].splitlines() if "│" in line]
    return [[cell.strip() for cell in line.split("│")] for line in lines]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_two_answers_stand_side_by_side(width: int) -> None:
    console = terminal(width)
    columns(console, [Scripted("one ", "two ", "three"), Scripted("[bold]1\n", "2", finish_reason="length")]).show("x")
    head, first, second, *rest = last_table(console)
    assert (head, first, second) == (list(MODELS), ["one two three", "[bold]1"], ["", "2"])
    assert " ".join(right for _, right in rest) == "(cut at 8 tokens; --max-new-tokens allows more)"
    assert all(len(line) <= width for line in shown(console).split("\x1b[2K")[-1].splitlines())


def test_long_answers_grow_at_their_end_and_are_printed_whole() -> None:
    console = terminal(width=60, height=10)
    numbers = [f"{number}\n" for number in range(30)]
    columns(console, [Scripted(*numbers), Scripted("short")]).show("x")
    frames = shown(console).split("\x1b[2K")
    assert max(frame.count("\n") for frame in frames[:-1]) <= 10
    assert any("24 " in frame and "25 " in frame for frame in frames[:-1])
    assert [left for left, _ in last_table(console)[1:31]] == [str(number) for number in range(30)]


def test_stopping_keeps_both_answers() -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt):
        columns(console, [Scripted("one", "two"), Scripted("1", KeyboardInterrupt())]).show("x")
    assert last_table(console)[1:] == [["onetwo", "1"], ["(stopped)", "(stopped)"]]


def test_a_model_that_cannot_answer_is_named() -> None:
    screen = columns(terminal(), [Scripted("one"), Scripted(ModelError("too long"))])
    with pytest.raises(ModelError, match=r"^smollm2-135m-instruct: too long$"):
        screen.show("x")
