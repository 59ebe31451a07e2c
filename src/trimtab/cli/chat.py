"""`trimtab chat`: talk with a model, or with two side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AllowRemoteCode, Json
from trimtab.errors import UserError

if TYPE_CHECKING:
    from trimtab.cli.chat_screen import Screen, Speaker
    from trimtab.generation.conversation import Conversation


def chat_command(
    model: Annotated[
        str | None, typer.Argument(help="A folder, a bundled name, a hub id, or a run's stage: runs/demo/sft.")
    ] = None,
    compare: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Two models that answer the same messages.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="Answer this one message and end.")] = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="Instructions to the model.")] = "",
    temperature: Annotated[float, typer.Option(min=0, help="How freely tokens are drawn; 0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Draw from the likeliest tokens that reach this.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Fixes what is drawn: the same seed, the same answers.")] = 0,
    allow_remote_code: AllowRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Talk with a model, or with two side by side (--compare A B).

    Messages come from the terminal, from --message, or one a line from standard input.
    """
    from rich.console import Console

    from trimtab.cli.chat_screen import ColumnScreen, JsonScreen, StreamScreen
    from trimtab.cli.chat_session import answer_lines, converse, readable

    if message is not None and not message.strip():
        raise UserError("--message is empty; write something to answer")
    speakers = _speakers(
        _names(model, compare),
        allow_remote_code,
        system=readable(system),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    console = Console(highlight=False)
    screen: Screen = StreamScreen(console, speakers[0]) if len(speakers) == 1 else ColumnScreen(console, speakers)
    if as_json:
        screen = JsonScreen(speakers)
    if message is not None:
        screen.show(readable(message))
    elif sys.stdin.isatty():
        converse(screen, speakers, prompt="" if as_json else "you: ")
    else:
        answer_lines(screen, speakers)


def _names(model: str | None, compare: tuple[str, str] | None) -> Sequence[str]:
    if model is not None and compare is not None:
        raise UserError(f"give one model, or two with --compare, not both: trimtab chat --compare {' '.join(compare)}")
    if compare is not None:
        return compare
    if model is None:
        raise UserError("say which model to talk with, such as: trimtab chat smollm2-135m-instruct")
    return [model]


def _speakers(names: Sequence[str], allow_remote_code: bool, **options: Any) -> list[Speaker]:
    """The models, ready to answer. All names are looked up before the first is loaded."""
    from rich.console import Console
    from rich.markup import escape

    from trimtab.cli.chat_screen import Speaker
    from trimtab.cli.libraries import settle_libraries
    from trimtab.pipeline.find import find_policy

    settle_libraries()
    notes = Console(stderr=True, highlight=False)
    speakers = []
    for name, source in [(name, find_policy(name)) for name in names]:
        with notes.status(f"loading {escape(name)}") if notes.is_terminal else nullcontext():
            conversation = _conversation(source, allow_remote_code, **options)
        speakers.append(Speaker(name, conversation))
    return speakers


def _conversation(source: str, allow_remote_code: bool, **options: Any) -> Conversation:
    from trimtab.cli.writers import open_writer
    from trimtab.generation.conversation import Conversation

    policy = open_writer(source, allow_remote_code=allow_remote_code)
    try:
        return Conversation(policy, **options)
    except ValueError as error:
        raise UserError(str(error)) from error
