"""What a run looks like in a terminal, in a log file, and to a program that reads JSON."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from trimtab.cli.wrap import printable
from trimtab.pipeline.artifacts import Artifact
from trimtab.pipeline.runner import Planned, Reporter

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_SPEED = 60.0
"""The time left follows from the speed over about the last minute, so that a slow stretch is soon forgotten."""
FIRST_ESTIMATE = 100
"""It is told from the hundredth part on: the first of many answers written together tells nothing of the others."""


class SayingReporter(Reporter, ABC):
    """One that can print a line, and prints what the user should know."""

    @abstractmethod
    def say(self, message: str) -> None:
        """Print a line."""

    def told(self, message: str) -> None:
        """One line."""
        self.say(message)


class TerminalReporter(SayingReporter):
    """Messages above a live bar with the time left."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self.console, self.bars = console, bars
        self._task: TaskID | None = None
        self._description = ""
        self._stage = ""

    def say(self, message: str) -> None:
        """Print a line."""
        self.console.print(message, markup=False, soft_wrap=True)

    def skipped(self, stage: Planned) -> None:
        """One line."""
        self.say(f"{stage.name}: finished before")

    def started(self, stage: Planned) -> None:
        """One line, and a bar that moves until there is something to count."""
        self.say(f"{stage.name}: {_beginning(stage)}")
        self._stage = stage.name
        self._show("starting", total=None, completed=0, fields="")

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        """Move the bar; a new piece of work has a new one."""
        shown = _fields(fields)
        if self._task is None or description != self._description:
            self._show(description, total=total, completed=done, fields=shown)
        else:
            self.bars.update(self._task, completed=done, total=total, fields=shown)

    def finished(self, artifact: Artifact) -> None:
        """One line in place of the bar."""
        self._hide()
        self.say(f"{artifact.name}: done in {duration(artifact.record.seconds)}")

    def _show(self, description: str, *, total: int | None, completed: int, fields: str) -> None:
        self._hide()
        text = f"{self._stage}: {description}"
        self._task = self.bars.add_task(text, total=total, completed=completed, fields=fields)
        self._description = description

    def _hide(self) -> None:
        if self._task is not None:
            self.bars.remove_task(self._task)
            self._task = None


class LineReporter(SayingReporter):
    """A line now and then, where the output is a file or a pipe."""

    def __init__(self) -> None:
        self._stage, self._description = "", ""
        self._marks: deque[tuple[float, int]] = deque()
        self._printed_at = 0.0

    def say(self, message: str) -> None:
        """Print a line."""
        print(message, flush=True)

    def skipped(self, stage: Planned) -> None:
        """One line."""
        self.say(f"{stage.name}: finished before")

    def started(self, stage: Planned) -> None:
        """One line."""
        self.say(f"{stage.name}: {_beginning(stage)}")
        self._stage, self._description = stage.name, ""

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        """A line at the beginning of a piece of work, at its end, and every ten seconds between."""
        now = time.monotonic()
        begins = description != self._description
        if begins:
            self._description, self._marks = description, deque()
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[1][0] <= now - SECONDS_OF_SPEED:
            self._marks.popleft()
        if not begins and done < total and now - self._printed_at < SECONDS_BETWEEN_LINES:
            return
        self._printed_at = now
        parts = [f"{self._stage}: {description} {done}/{total}", _fields(fields), self._left(now, done, total)]
        self.say(", ".join(part for part in parts if part))

    def finished(self, artifact: Artifact) -> None:
        """One line."""
        self.say(f"{artifact.name}: done in {duration(artifact.record.seconds)}")

    def _left(self, now: float, done: int, total: int) -> str:
        began, first = self._marks[0]
        if done <= first or done >= total or done * FIRST_ESTIMATE < total:
            return ""
        return f"{duration((now - began) / (done - first) * (total - done))} left"


class QuietReporter(SayingReporter):
    """Nothing on standard output but the JSON at the end; what must be said goes to standard error."""

    def say(self, message: str) -> None:
        """Print a line beside the output."""
        print(message, file=sys.stderr, flush=True)


@contextmanager
def reporter_for(as_json: bool) -> Iterator[SayingReporter]:
    """The reporter that suits where the output goes."""
    console = Console(highlight=False, markup=False, emoji=False)
    if as_json:
        yield QuietReporter()
    elif not console.is_terminal:
        yield LineReporter()
    else:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fields]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            speed_estimate_period=600,
        ) as bars:
            yield TerminalReporter(console, bars)


def progress_lines() -> Callable[[str, int, int], None]:
    """Says on standard error how far a long piece of work is, every few seconds, with the time left."""
    began, told = time.monotonic(), time.monotonic()

    def tell(what: str, done: int, total: int) -> None:
        nonlocal began, told
        now = time.monotonic()
        if done <= 1:
            began = now
        if now - told >= SECONDS_BETWEEN_LINES and done:
            told = now
            left = (now - began) / done * (total - done)
            print(f"{what}: {done} of {total}, {left:.0f} s left", file=sys.stderr, flush=True)

    return tell


def duration(seconds: float) -> str:
    """A duration in as few characters as make sense: 8.2 s, 42 s, 7 min 10 s, 1 h 05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def evaluation_table(evaluation: Mapping[str, Any], *, every_check: bool = False) -> Table:
    """An evaluation's before/after table."""
    from trimtab.evaluation.table import before_after_table

    found = before_after_table(evaluation, every_check=every_check)
    table = Table(caption=found.caption, caption_justify="left")
    for place, title in enumerate(found.header):
        table.add_column(_plain(title), justify="left" if place == 0 else "right")
    for row in found.rows:
        table.add_row(*map(_plain, row))
    return table


def _plain(text: str) -> Text:
    """Text from data: neither markup nor anything that steers the terminal."""
    return Text(printable(text))


def _beginning(stage: Planned) -> str:
    return "going on where it was stopped" if stage.status == "resumable" else "started"


def _fields(fields: Mapping[str, object]) -> str:
    shown = (f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in fields.items())
    return ", ".join(shown)
