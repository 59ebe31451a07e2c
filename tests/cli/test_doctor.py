"""What `trimtab doctor` prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.world import CommandLine
from tests.training.world import tiny_policy

from trimtab.pipeline import doctor
from trimtab.pipeline.doctor import Finding

FINE = Finding("Python", "ok", "3.12 (needs >=3.11)")
ODD = Finding("disk [/b]", "ok", "in [/b] :smile:")
TIGHT = Finding("memory", "warning", "3.0 GiB free", "Enough to chat.")
BROKEN = Finding("torch", "problem", "is not installed", "Install it.")


def finds(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    monkeypatch.setattr(doctor, "check_machine", lambda folder: list(findings))


def test_findings_are_shown_with_what_to_do(trimtab: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, FINE, TIGHT)
    ended = trimtab("doctor")
    assert ended.code == 0
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines == [
        "ok Python 3.12 (needs >=3.11)",
        "warning memory 3.0 GiB free",
        "Enough to chat.",
        "",
        "2 checks, 1 warning, 0 problems",
    ]


def test_brackets_are_no_markup(trimtab: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, ODD)
    assert " ".join(trimtab("doctor").out.splitlines()[0].split()) == "ok disk [/b] in [/b] :smile:"


def test_a_problem_is_the_exit_code(trimtab: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, FINE, BROKEN)
    assert trimtab("doctor").code == 1
    ended = trimtab("doctor", "--json")
    assert ended.code == 1
    assert json.loads(ended.out) == [
        {"check": "Python", "status": "ok", "detail": "3.12 (needs >=3.11)", "remedy": ""},
        {"check": "torch", "status": "problem", "detail": "is not installed", "remedy": "Install it."},
    ]


def test_a_model_is_checked_too(trimtab: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finds(monkeypatch, FINE)
    tiny_policy().save(tmp_path / "model")
    found = json.loads(trimtab("doctor", "--model", "model", "--json").out)
    assert [one["check"] for one in found] == [
        "Python",
        "model",
        "files",
        "padding",
        "end of turn",
        "special tokens",
        "engine",
        "speed",
    ]
    ended = trimtab("doctor", "--model", "modle")
    assert ended.code == 1
    assert "no model is called 'modle'" in ended.out


def test_this_machine_can_be_checked(trimtab: CommandLine) -> None:
    found = json.loads(trimtab("doctor", "--json").out)
    assert {"Python", "torch", "memory"} <= {one["check"] for one in found}


@pytest.mark.slow
def test_the_default_model_is_sound(trimtab: CommandLine) -> None:
    found = json.loads(trimtab("doctor", "--model", "smollm2-135m-instruct", "--json").out)
    assert {one["status"] for one in found if one["check"] in ("padding", "end of turn", "special tokens")} == {"ok"}
    assert next(one for one in found if one["check"] == "engine")["status"] == "ok"
