"""Recipes that between them have every kind of stage, and the files they name."""

from __future__ import annotations

import json
from pathlib import Path

RECIPE = """\
title: Expense desk
seed: 17
stages:
  report: {evaluation: held_out}
  policy: {kind: ppo, model: sft, reward_model: reward_model, data: data/prompts.jsonl}
  sft:
    model: smollm2-135m-instruct
    data: data/demonstrations.jsonl
    learning_rate: 1e-4
  reward_model: {model: sft, data: data/comparisons.jsonl, seed: 3}
  held_out:
    kind: evaluation
    base: smollm2-135m-instruct
    models: [sft, policy]
    reward_model: reward_model
    prompts: data/held_out.jsonl
"""
OTHERS = """\
stages:
  sft: {model: smollm2-135m-instruct, data: data/demonstrations.jsonl}
  reward_model: {model: sft, data: data/comparisons.jsonl}
  dpo: {model: sft, data: data/comparisons.jsonl, beta: 0.5}
  grpo: {model: dpo, reward_model: reward_model, data: data/prompts.jsonl}
  checked: {kind: grpo, model: grpo, data: data/prompts.jsonl, aggregation: token, importance_cap: null}
"""


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    """The recipe's path; its data files are there, each with a line of its own."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    answers = {"demonstrations": {"completion": "a"}, "comparisons": {"chosen": "a", "rejected": "b"}}
    for name in ("prompts", "demonstrations", "comparisons", "held_out"):
        row = {"prompt": name} | answers.get(name, {})
        (folder / "data" / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    path = folder / "desk.yaml"
    path.write_text(text)
    return path
