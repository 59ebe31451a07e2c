"""Running `trimtab` inside the test's process, and a tiny model with data to run it on."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.training.world import tiny_policy

from trimtab.cli.main import main

TINY = """\
stages:
  sft: {model: model, data: demonstrations.jsonl, batch_size: 4, learning_rate: 1e-3, checkpoint_seconds: 0.1}
runtime: {threads: 1, precision: fp32}
"""
WHOLE = """\
title: Twelve expenses
seed: 3
stages:
  sft: {model: model, data: demonstrations.jsonl, batch_size: 4, learning_rate: 1e-3, checkpoint_seconds: 0}
  reward_model: {model: sft, data: comparisons.jsonl, prompts_per_step: 2, checkpoint_seconds: 0}
  policy:
    {kind: ppo, model: sft, reward_model: reward_model, data: prompts.jsonl, num_steps: 6, prompts_per_step: 2,
     group_size: 2, minibatch_size: 2, num_epochs: 2, max_new_tokens: 6, kl_target: 2.0, checkpoint_seconds: 0}
  preferring: {kind: dpo, model: sft, data: comparisons.jsonl, prompts_per_step: 4, learning_rate: 1e-2}
  grouped:
    {kind: grpo, model: sft, reward_model: reward_model, data: prompts.jsonl, num_steps: 2, prompts_per_step: 2,
     group_size: 3, num_epochs: 2, minibatch_size: 3, max_new_tokens: 6}
  checked:
    {kind: grpo, model: preferring, data: checked.jsonl, num_steps: 2, prompts_per_step: 2, group_size: 3, kl_coef: 0,
     max_new_tokens: 6, temperature: 1.5, adapter: null, learning_rate: 1e-3}
  evaluation:
    {base: model, models: [sft, preferring, grouped, checked, policy], reward_model: reward_model,
     prompts: heldout.jsonl, comparisons: comparisons.heldout.jsonl, max_new_tokens: 6, group_size: 2}
  report: {evaluation: evaluation}
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
    tiny_policy(longest=2048).save(folder / "model")
    _write(folder / "demonstrations.jsonl", [{"prompt": f"question {n}", "completion": _answer(n)} for n in range(12)])
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return path


def write_whole_recipe(folder: Path) -> Path:
    """A recipe with a stage of every kind, for the same tiny model."""
    write_tiny_recipe(folder)
    for name, numbers in (("comparisons", range(12)), ("comparisons.heldout", range(20, 24))):
        rows = [{"prompt": f"question {n}", "chosen": _answer(n), "rejected": "question"} for n in numbers]
        _write(folder / f"{name}.jsonl", rows)
    _write(folder / "prompts.jsonl", [{"prompt": f"question {n}"} for n in range(12)])
    truth = {"length": {"max_words": 4}}
    words = {"short": {"max_words": 2}, "letter": {"matches": "[aeiou]"}}
    _write(folder / "checked.jsonl", [{"prompt": f"question {n}", "truth": words} for n in range(12)])
    _write(folder / "heldout.jsonl", [{"prompt": f"question {n}", "truth": truth} for n in range(20, 26)])
    path = folder / "whole.yaml"
    path.write_text(WHOLE)
    return path


def _answer(number: int) -> str:
    return f"Meals, {number} EUR"


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
