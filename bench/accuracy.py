"""Which reward model tells held-out pairs apart more often, trimtab's or TRL's? Same pairs, token ids and settings.

python -m bench.accuracy COMPARISONS... [--held-out 800] [--longest 256] [--learning-rate 5e-4]

Both learn a LoRA adapter in one pass over the pairs that are not held out, in the same order, and then score the
others. Prints a table in Markdown; `--out` keeps the scores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable, Sequence
from pathlib import Path

from bench.jobs import OURS, Row, read_rows
from bench.run import PEERS, ROOT, environment
from bench.side import Job
from trimtab.evaluation.statistics import Estimate, mean

MODULES = {OURS: "bench.accuracy_ours", "trl": "bench.accuracy_trl"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, score, compare."""
    options = _parse(arguments)
    train, held_out, job = prepare(options)
    print(f"{len(train)} pairs to learn from, {len(held_out)} held out", file=sys.stderr)
    differences: dict[str, list[float]] = {}
    for side in options.sides.split(","):
        began = time.monotonic()
        differences[side] = run(side, job)
        print(f"{side}: {(time.monotonic() - began) / 60:.1f} min", file=sys.stderr, flush=True)
        if options.out:
            options.out.write_text(json.dumps({"held_out": held_out, "differences": differences}) + "\n")
    print(table(differences, [json.dumps(row["prompt_ids"]) for row in held_out]))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="comparisons, in any format that trimtab reads")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a folder or a bundled name")
    parser.add_argument("--held-out", type=int, default=800, help="pairs to measure on (800)")
    parser.add_argument("--longest", type=int, default=256, help="tokens of a prompt with its longer response (256)")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--sides", default=",".join(MODULES), help="which sides, with commas between")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="JSON file for the differences of scores")
    return parser.parse_args(arguments)


def prepare(options: argparse.Namespace) -> tuple[list[Row], list[Row], Job]:
    """The pairs to learn from, those held out, and what every side is told. No prompt is in both."""
    from trimtab.data.chat import ChatTemplate
    from trimtab.models.hardware import has_fast_bfloat16
    from trimtab.models.registry import load_tokenizer, locate

    model = locate(options.model, say=lambda text: print(text, file=sys.stderr)).resolve()
    template = ChatTemplate(load_tokenizer(str(model)))
    rows = [row for row in read_rows(options.files, template, skip_bad=True) if _length(row) <= options.longest]
    if len(rows) <= options.held_out:
        sys.exit(f"{len(rows)} pairs are short enough, and {options.held_out} are to be held out")
    train, held_out = rows[: -options.held_out], rows[-options.held_out :]
    job = {
        "model": str(model),
        "precision": "bf16" if has_fast_bfloat16() else "fp32",
        "threads": options.threads,
        "learning_rate": options.learning_rate,
        "batch": 16,
        "rows": train,
        "held_out": held_out,
    }
    return train, held_out, job


def _length(row: Row) -> int:
    return len(row["prompt_ids"]) + max(map(len, row["response_ids"]))


def run(side: str, job: Job) -> list[float]:
    """Score of the better response minus that of the worse one, of every held-out pair."""
    python = sys.executable if side == OURS else str(PEERS / "python")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        command = [python, "-m", MODULES[side], file.name]
        done = subprocess.run(
            command, cwd=ROOT, env=environment(side, job["threads"]), stdout=subprocess.PIPE, text=True, check=True
        )
    return json.loads(done.stdout.strip().splitlines()[-1])["differences"]


def table(differences: dict[str, list[float]], prompts: Sequence[Hashable]) -> str:
    """Accuracy in per cent with 95 % intervals, and the paired difference to the last side in percentage points."""
    right = {side: [1.0 if d > 0 else 0.5 if d == 0 else 0.0 for d in of_side] for side, of_side in differences.items()}
    *_, last = right
    lines = [f"| reward model | right, n = {len(prompts)} | minus {last} |", "| --- | --- | --- |"]
    for side, of_side in right.items():
        paired = mean([a - b for a, b in zip(of_side, right[last], strict=True)], prompts)
        difference = _percent(paired, "+.1f", " points") if side != last else ""
        lines.append(f"| {side} | {_percent(mean(of_side, prompts), '.1f', ' %')} | {difference} |")
    return "\n".join(lines)


def _percent(found: Estimate, form: str, unit: str) -> str:
    return f"{100 * found.value:{form}}{unit} ({100 * found.low:{form}} to {100 * found.high:{form}})"


if __name__ == "__main__":
    main()
