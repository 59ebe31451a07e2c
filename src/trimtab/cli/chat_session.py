"""Where a chat's messages come from, and the commands among them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile

from trimtab.cli.chat_screen import Screen, Speaker
from trimtab.errors import UserError

HELP = """\
/reset          begin a new conversation
/system TEXT    the same, with these instructions to the model
/help           show this list
/quit           leave; so does Ctrl-D
Ctrl-C          stop the answer that is being written

A message that begins with / is sent when a space is put before it."""


def converse(screen: Screen, speakers: Sequence[Speaker], prompt: str) -> None:
    """Answer what is typed in a terminal. Neither a mistake nor Ctrl-C ends the conversation."""
    say(f"Talking with {' and '.join(speaker.name for speaker in speakers)}. /help lists the commands.")
    for line in _until_quit(_typed(prompt)):
        try:
            _take(line, screen, speakers)
        except UserError as error:
            say(f"error: {error}")
        except KeyboardInterrupt:
            pass  # the screen has said that the answer is stopped


def answer_lines(screen: Screen, speakers: Sequence[Speaker]) -> None:
    """Answer the messages on standard input, one a line. Raises `UserError` at the first that cannot be answered."""
    try:
        for line in _until_quit(sys.stdin):
            _take(line, screen, speakers)
    except UnicodeDecodeError as error:
        raise UserError("standard input is not text in UTF-8; write messages as text, one a line") from error


def readable(text: str) -> str:
    """Text without what the terminal or the shell passed on undecoded, which no tokenizer reads."""
    return text.encode("utf-8", "replace").decode("utf-8")


def say(text: str) -> None:
    """A line beside the answers."""
    print(text, file=sys.stderr, flush=True)


def _typed(prompt: str) -> Iterator[str]:
    """What is typed, until Ctrl-D."""
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() line editing and a history
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            say("")
        except EOFError:
            say("")
            return


def _until_quit(lines: Iterable[str]) -> Iterator[str]:
    return takewhile(lambda line: line != "/quit", (line.rstrip() for line in lines))


def _take(line: str, screen: Screen, speakers: Sequence[Speaker]) -> None:
    """Answer a message or do what a command says. Raises `UserError` for a command that does not exist."""
    if not line.startswith("/"):
        if line.strip():
            screen.show(readable(line.strip()))
        return
    command, _, rest = line.partition(" ")
    if command == "/help":
        say(HELP)
    elif command == "/reset":
        for speaker in speakers:
            speaker.conversation.begin(speaker.conversation.system)
        say("A new conversation.")
    elif command == "/system":
        for speaker in speakers:
            speaker.conversation.begin(readable(rest.strip()))
        say("A new conversation, with these instructions." if rest.strip() else "A new conversation.")
    else:
        raise UserError(f"there is no command {command}; /help lists them. Put a space before a message that begins so")
