"""The workloads: which rows, how many steps, which settings. A job is what one side gets to do, as JSON."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.side import Job

if TYPE_CHECKING:
    from trimtab.data.chat import ChatTemplate

OURS = "trimtab"
TRL = ("trl", "trl-defaults")
"""With the settings that make it fastest on a CPU, and as it comes."""
SEED = 20
MEAN_LENGTH, LONGEST = 40, 128
WARMUP_TOKENS = 8

Row = dict[str, Any]
"""prompt (messages), prompt_ids, responses (two texts, the better first), response_ids."""


@dataclass(frozen=True)
class Workload:
    """Something both sides do. `bar` is how many times as fast as each peer trimtab is meant to be."""

    name: str
    title: str
    method: str
    peers: tuple[str, ...] = ()
    batch: int = 1
    new_tokens: int = 64
    group_size: int = 1
    stops: bool = False
    adapter: bool = False
    warmup: int = 1
    steps: int = 2
    bar: float = 1.0
    beside: str = ""
    """Name of the workload whose runs alternate with this one's and whose peers this one is compared with."""


def _generation(batch: int, stops: bool, peers: tuple[str, ...]) -> Workload:
    name = f"generate-{batch}" + ("-stops" if stops else "")
    what = f"{batch} sequence{'s' if batch > 1 else ''} at once"
    length = f"each until its own length (mean {MEAN_LENGTH}, at most {LONGEST})" if stops else "64 new tokens each"
    return Workload(name, f"writing, {what}, {length}", "generate", peers, batch=batch, stops=stops)


FULL = [
    _generation(1, False, ("transformers", "llama.cpp", "llama.cpp-f16")),
    _generation(32, False, ("transformers",)),
    _generation(32, True, ("transformers",)),
    _generation(64, False, ("transformers",)),
    _generation(64, True, ("transformers",)),
    Workload("sft", "SFT, 16 demonstrations a step", "sft", TRL, batch=16, bar=3.5),
    Workload("reward_model", "reward model, 16 pairs a step", "reward_model", TRL, batch=16, bar=2.5),
    Workload("dpo", "DPO, 16 pairs a step", "dpo", TRL, batch=16, bar=5.0),
    Workload("grpo", "GRPO, 8 responses of 64 tokens", "grpo", TRL, batch=1, group_size=8, bar=5.0),
    Workload("ppo", "PPO (peer: GRPO), 8 × 64 tokens", "ppo", (), batch=1, group_size=8, beside="grpo", bar=5.0),
    Workload("help", "`trimtab --help` (peer: `trl --help`)", "command", ("trl",), steps=10),
    Workload("plan", "`trimtab plan recipes/demo.yaml`", "command", (), steps=10),
]
ADAPTER = [
    replace(w, name=f"{w.name}-adapter", title=f"{w.title}, LoRA of rank 16", adapter=True)
    for w in FULL
    if w.name in ("sft", "dpo", "grpo")
]
WORKLOADS = {w.name: w for w in FULL + ADAPTER}


def read_rows(
    sources: Sequence[Path], template: ChatTemplate, limit: int | None = None, *, skip_bad: bool = False
) -> list[Row]:
    """Pairs of responses to distinct prompts, shuffled by a fixed seed. Ties are left out."""
    from trimtab.data.formats import read_comparisons

    pairs: dict[Any, tuple[str, str]] = {}
    for comparison in (one for source in sources for one in read_comparisons(source, skip_bad=skip_bad)):
        if comparison.probability != 0.5:
            better = comparison if comparison.probability > 0.5 else comparison.swap()
            pairs.setdefault(better.prompt, (better.chosen, better.rejected))
    chosen = list(pairs.items())
    random.Random(SEED).shuffle(chosen)
    return [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "prompt_ids": template.prompt_ids(prompt),
            "responses": list(texts),
            "response_ids": [template.response_ids(text) for text in texts],
        }
        for prompt, texts in chosen[:limit]
    ]


def lengths(count: int) -> list[int]:
    """How many tokens each sequence writes: a skewed distribution with a long tail, the same for every side."""
    draw = random.Random(SEED)
    return [min(1 + int(draw.expovariate(1 / MEAN_LENGTH)), LONGEST) for _ in range(count)]


def make_job(workload: Workload, side: str, rows: Sequence[Row], model: Path, *, precision: str, threads: int) -> Job:
    """What `side` is to do, alike for all sides.

    `tokens` holds how many each step has to compute, `limits` how many each sequence writes; warm-up steps come first.
    """
    steps = workload.warmup + workload.steps
    chosen = _prompts(rows, workload.batch) if workload.method == "generate" else _repeat(rows, workload.batch * steps)
    job = {
        "side": side,
        "workload": workload.name,
        "method": workload.method,
        "model": str(model),
        "precision": precision,
        "threads": threads,
        "adapter": workload.adapter,
        "batch": workload.batch,
        "group_size": workload.group_size,
        "new_tokens": workload.new_tokens,
        "warmup": workload.warmup,
        "steps": workload.steps,
        "rows": chosen,
    }
    if workload.method == "generate":
        limits = lengths(workload.batch) if workload.stops else [workload.new_tokens] * workload.batch
        short = [min(limit, WARMUP_TOKENS) for limit in limits]
        job["limits"] = [short] * workload.warmup + [limits] * workload.steps
        return job | {"tokens": [sum(limits) for limits in job["limits"]]}
    batches = [chosen[start : start + workload.batch] for start in range(0, len(chosen), workload.batch)]
    return job | {"tokens": [sum(_tokens(row, workload) for row in batch) for batch in batches]}


def _tokens(row: Row, workload: Workload) -> int:
    """Tokens of a row where every response has a prompt of its own, as peers lay it out."""
    prompt = len(row["prompt_ids"])
    if workload.method in ("grpo", "ppo"):
        return workload.group_size * (prompt + workload.new_tokens)
    responses = row["response_ids"][: 1 if workload.method == "sft" else 2]
    return sum(prompt + len(response) for response in responses)


def _prompts(rows: Sequence[Row], count: int) -> list[Row]:
    """Rows whose prompts have about 64 tokens."""
    near = sorted(rows, key=lambda row: abs(len(row["prompt_ids"]) - 64))
    return _repeat(near[:count], count)


def _repeat(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` rows; the first come again where there are too few."""
    return list(islice(cycle(rows), count))
