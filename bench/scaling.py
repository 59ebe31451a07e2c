"""How the cost of a PPO step grows with prompts and with response tokens, as a Markdown table.

python -m bench.scaling [--repeats 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from bench.jobs import OURS, WORKLOADS, make_job
from bench.run import prepare, run_side, shared_options
from bench.table import GIB, Span

PROMPTS = [(1, 64), (2, 64), (4, 64)]
TOKENS = [(1, 32), (1, 64), (1, 128)]
"""Prompts a step and tokens a response; the group of a prompt is eight responses."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    shared_options(parser)
    options = parser.parse_args(arguments)
    prepared = prepare(options)
    print("| prompts × responses × tokens | seconds a step | ms a response token | peak memory |")
    print("| --- | --- | --- | --- |")
    for prompts, tokens in dict.fromkeys(PROMPTS + TOKENS):
        workload = replace(WORKLOADS["ppo"], batch=prompts, new_tokens=tokens)
        job = make_job(
            workload, OURS, prepared.rows, prepared.model, precision=prepared.precision, threads=options.threads
        )
        runs = [run_side(OURS, job) for _ in range(options.repeats)]
        seconds = Span.of([second for run in runs for second in run["seconds"]])
        written = prompts * workload.group_size * tokens
        peak = max(run["peak_bytes"] for run in runs) / GIB
        each = 1000 * median([second for run in runs for second in run["seconds"]]) / written
        print(f"| {prompts} × {workload.group_size} × {tokens} | {seconds} | {each:.1f} | {peak:.2f} GiB |", flush=True)


if __name__ == "__main__":
    main()
