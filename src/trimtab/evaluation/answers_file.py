"""What models answered in an evaluation, as a file: one line a prompt and model, enough to measure it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trimtab.errors import DataError
from trimtab.evaluation.outputs import ModelOutputs
from trimtab.types import Completion, Message, Prompt

Row = dict[str, Any]


def write_answers(outputs: Sequence[ModelOutputs], path: Path) -> None:
    """Write every answer, greedy and sampled, with its score where there is one."""
    with path.open("w", encoding="utf-8") as file:
        for model in outputs:
            for place, one in enumerate(model.greedy):
                scores = model.sampled_scores[place] if model.sampled_scores else ()
                line = {
                    "model": model.name,
                    **{name: one.prompt.meta.get(name) for name in ("id", "kind", "truth")},
                    "prompt": [asdict(message) for message in one.prompt.messages],
                    "greedy": _row(one, model.greedy_scores[place] if model.greedy_scores else None),
                    "sampled": [
                        _row(other, scores[k] if scores else None)
                        for k, other in enumerate(model.sampled[place] if model.sampled else ())
                    ],
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_answers(path: Path) -> dict[str, ModelOutputs]:
    """What each model answered, by its name, in the order of the file. Scores stay behind: they were one run's own.

    Tokens are counted and not known: every id is 0. Raises `DataError` for a file that cannot be read.
    """
    greedy: dict[str, list[Completion]] = {}
    sampled: dict[str, list[list[Completion]]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            meta = {name: row[name] for name in ("id", "kind", "truth") if row.get(name) is not None}
            prompt = Prompt(tuple(Message(**message) for message in row["prompt"]), meta)
            greedy.setdefault(row["model"], []).append(_completion(prompt, row["greedy"]))
            sampled.setdefault(row["model"], []).append([_completion(prompt, one) for one in row["sampled"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as the answers of an evaluation: {error}") from error
    return {
        name: ModelOutputs(name, answers, sampled=sampled[name] if all(sampled[name]) else ())
        for name, answers in greedy.items()
    }


def _row(one: Completion, score: float | None) -> Row:
    return {"text": one.text, "tokens": len(one.token_ids), "finish_reason": one.finish_reason, "score": score}


def _completion(prompt: Prompt, row: Mapping[str, Any]) -> Completion:
    return Completion(prompt, row["text"], (0,) * row["tokens"], (0.0,) * row["tokens"], row["finish_reason"])
