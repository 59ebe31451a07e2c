"""Judgements of a stage that may be killed: judged block by block, and what was judged is not judged again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trimtab.errors import Interrupted
from trimtab.feedback.judge import Judgement, Pair, Vote
from trimtab.pipeline.context import Context
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.judges import Judge

PAIRS_AT_ONCE = 32


def judge_and_keep(judge: Judge, pairs: Sequence[Pair], name: str, context: Context) -> list[Judgement]:
    """Judge all pairs, and keep each block of them under this name with the stage's state.

    Blocks are cut at the same places after an interruption, so the judgements are those of an uninterrupted stage.
    Raises `Interrupted` between two blocks when asked to stop.
    """
    file = context.state / f"{name}.jsonl"
    blocks = _whole_lines(file)
    for start in range(len(blocks) * PAIRS_AT_ONCE, len(pairs), PAIRS_AT_ONCE):
        if context.stop_requested():
            raise Interrupted(f"stopped after {start} of {len(pairs)} pairs were judged; their judgements are saved")
        found = judge(pairs[start : start + PAIRS_AT_ONCE])
        blocks.append([asdict(one) for one in found])
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(blocks[-1]) + "\n")
            lines.flush()
            os.fsync(lines.fileno())
        context.progress(f"judging {name}", min(start + PAIRS_AT_ONCE, len(pairs)), len(pairs))
    return [_judgement(value) for block in blocks for value in block]


def _whole_lines(file: Path) -> list[list[dict[str, Any]]]:
    """The blocks in the file; what a kill left of a line is cut off."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        replace_text(file, "".join(lines[:-1]))
        del lines[-1]
    return [json.loads(line) for line in lines]


def _judgement(value: dict[str, Any]) -> Judgement:
    return Judgement(value["probability"], value["why"], tuple(Vote(**vote) for vote in value["votes"]))
