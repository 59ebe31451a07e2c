"""Running `trimtab` inside the test's process, and a tiny model with data to run it on."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.training.world import tiny_policy

from trimtab.cli.main import main

TINY = """\
stages:
  sft: {model: model, data: demonstrations.jsonl, batch_size: 4, learning_rate: 1e-3, checkpoint_seconds: 0.1}
runtime: {threads: 1, precision: fp32}
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class CommandLine:
    """`trimtab` with its output caught. It works in the folder of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd
        monkeypatch.setenv("COLUMNS", "160")

    def __call__(self, *arguments: object) -> Outcome:
        self.monkeypatch.setattr(sys, "argv", ["trimtab", *map(str, arguments)])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Outcome(int(end.value.code or 0), *self.capfd.readouterr())


def write_tiny_recipe(folder: Path) -> Path:
    """A recipe that fine-tunes a tiny random model on twelve short answers."""
    tiny_policy().save(folder / "model")
    rows = ({"prompt": f"question {n}", "completion": f"Meals, {n} EUR"} for n in range(12))
    (folder / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return path
