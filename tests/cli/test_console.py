"""Progress in a terminal, and in a file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn
from tests.evaluation.world import evaluation

from trimtab.cli import console as module
from trimtab.cli.console import LineReporter, TerminalReporter, duration, evaluation_table, reporter_for
from trimtab.pipeline.runner import Planned

STAGE = Planned("policy", "ppo", "0" * 64, Path("policy-0"), {}, "resumable")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (432, "7 min 12 s"),
        (3899, "1 h 04 min"),
        (7200, "2 h 00 min"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_lines_come_every_ten_seconds_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    reporter = LineReporter()
    reporter.started(STAGE)
    for done in range(31, 41):  # it goes on after step 30; four seconds a step
        reporter.progress("ppo", done, 40, score=0.12345)
        now[0] += 4
    assert capsys.readouterr().out.splitlines() == [
        "policy: going on where it was stopped",
        "policy: ppo 31/40, score 0.123",
        "policy: ppo 34/40, score 0.123, 24 s left",
        "policy: ppo 37/40, score 0.123, 12 s left",
        "policy: ppo 40/40, score 0.123",
    ]


def test_a_slow_stretch_is_forgotten_in_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    reporter = LineReporter()
    reporter.started(STAGE)
    for done in range(1, 41):  # ten minutes for the first two steps, then two seconds a step
        reporter.progress("ppo", done, 100)
        now[0] += 300 if done < 3 else 2
    lines = capsys.readouterr().out.splitlines()
    assert "policy: ppo 3/100, 8 h 05 min left" in lines
    assert lines[-1] == "policy: ppo 38/100, 2 min 04 s left"


def test_the_time_left_is_told_when_a_step_takes_longer_than_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    reporter = LineReporter()
    reporter.started(STAGE)
    for done in range(1, 4):
        reporter.progress("ppo", done, 10)
        now[0] += 90
    assert capsys.readouterr().out.splitlines()[-1] == "policy: ppo 3/10, 10 min 30 s left"


def test_what_data_says_is_shown_as_it_is() -> None:
    held_out = evaluation(4, 2)
    for row in held_out["metrics"]:
        row["group"] = row["group"].replace("memo", "[/b] :smile: \x1b[31m")
    held_out["models"][1] = "[/b]sft"
    for row in held_out["metrics"]:
        row["by_model"]["[/b]sft"] = row["by_model"].pop("sft")
    screen = io.StringIO()
    Console(file=screen, width=200).print(evaluation_table(held_out))
    assert "([/b] :smile: \N{REPLACEMENT CHARACTER}[31m)" in screen.getvalue()
    assert "[/b]sft" in screen.getvalue()


def test_a_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(module, "Console", lambda **options: Console(**options, file=screen, force_terminal=True))
    with reporter_for(as_json=False) as reporter:
        reporter.started(STAGE)
        reporter.progress("asking [/b]", 1, 2, note="[/i]")
        assert isinstance(reporter, TerminalReporter)
        reporter.bars.refresh()
    assert "policy: asking [/b]" in screen.getvalue()
    assert "note [/i]" in screen.getvalue()


def test_a_bar_shows_the_present_piece_of_work() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    columns = TextColumn("{task.description} {task.completed}/{task.total} {task.fields[fields]}")
    with Progress(columns, console=console, auto_refresh=False) as bars:
        reporter = TerminalReporter(console, bars)
        reporter.started(STAGE)
        assert [task.description for task in bars.tasks] == ["policy: starting"]
        reporter.progress("ppo", 3, 50, kl=2.0)
        reporter.progress("ppo", 4, 50, kl=2.5)
        (task,) = bars.tasks
        assert (task.description, task.completed, task.total) == ("policy: ppo", 4, 50)
        assert task.fields["fields"] == "kl 2.5"
        reporter.progress("scoring", 1, 9)
        assert [task.description for task in bars.tasks] == ["policy: scoring"]
    assert "policy: going on where it was stopped" in screen.getvalue()


def test_the_first_of_many_answers_gives_no_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    reporter = LineReporter()
    reporter.started(STAGE)
    for done in range(4):
        reporter.progress("answers", done, 300)
        now[0] += 10
    assert capsys.readouterr().out.splitlines()[1:] == [
        "policy: answers 0/300",
        "policy: answers 1/300",
        "policy: answers 2/300",
        "policy: answers 3/300, 49 min 30 s left",
    ]
