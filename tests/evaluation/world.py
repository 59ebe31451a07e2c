"""A made-up run: prompts, three models' answers and the artifact folders a pipeline would leave."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from trimtab.evaluation.outputs import ModelOutputs
from trimtab.evaluation.summary import Judge, ScoredComparisons, evaluate
from trimtab.evaluation.verdicts import Bars
from trimtab.types import Comparison, Completion, Message, Prompt

MERCHANTS = ["Pebble and Pine", "Harbour Taxis", "The Tin Kettle", "Lowtide Press", "Gull Lane Hotel"]
CATEGORIES = ["GT2 Ground travel", "HC7 Client hospitality", "LG1 Lodging", "SW6 Software"]


def prompt(text: str, **meta: Any) -> Prompt:
    return Prompt((Message("user", text),), meta)


def completion(text: str, *, finish_reason: Any = "stop", asked: Prompt | None = None) -> Completion:
    tokens = tuple(range(len(text.split()) * 4 // 3 + 1))
    return Completion(asked or prompt("?"), text, tokens, (0.0,) * len(tokens), finish_reason)


def held_out(memos: int = 24, questions: int = 8) -> list[Prompt]:
    rng = random.Random(5)
    found = []
    for number in range(memos):
        amount, merchant = f"{rng.uniform(8, 300):.2f} GBP", rng.choice(MERCHANTS)
        truth = {
            "category": {"line": f"Category: {rng.choice(CATEGORIES)}"},
            "amount": {"line": f"Amount: {amount}"},
            "merchant": {"line": f"Merchant: {merchant}"},
            "figures": {"figures_from": []},
            "length": {"max_words": 60},
        }
        text = f"Write the memo: {merchant}, {amount}, {rng.randint(1, 28)} March, a visit to a customer"
        found.append(prompt(text, id=f"memo-{number:03}", kind="memo", truth=truth))
    for number in range(questions):
        truth = {"fact": {"contains": "118 GBP"}, "figures": {"figures_from": ["118"]}, "length": {"max_words": 40}}
        text = f"What may a hotel cost on trip {number}?"
        found.append(prompt(text, id=f"question-{number:03}", kind="question", truth=truth))
    return found


def answer(asked: Prompt, skill: float, rng: random.Random) -> Completion:
    """A good answer with probability `skill`, else one with a flaw or a ramble."""
    truth = asked.meta["truth"]
    good = rng.random() < skill
    if asked.meta["kind"] == "question":
        return completion("A room may cost up to 118 GBP a night." if good else "Please ask the passage desk.")
    lines = [truth[name]["line"] for name in ("category", "amount", "merchant")]
    if good:
        return completion("\n".join([*lines, "Purpose: Visit to a customer."]))
    if skill < 0.2:
        text = "Dear team,\n\nI hope this memo finds you well. I am writing about the cost of 75.00 GBP. " * 4
        return completion(text, finish_reason="length")
    lines[0] = f"Category: {rng.choice(CATEGORIES)}"
    return completion("\n".join([*lines, f"Purpose: Visit, {rng.randint(30, 90)} GBP each."]))


def outputs(prompts: list[Prompt], name: str, skill: float, level: float) -> ModelOutputs:
    rng = random.Random(name)
    return ModelOutputs(
        name,
        kind={"sft": "sft", "policy": "ppo"}.get(name, ""),
        greedy=[answer(one, skill, rng) for one in prompts],
        greedy_scores=[level + rng.gauss(0, 0.6) for _ in prompts],
        sampled=[[answer(one, skill * 0.9, rng) for _ in range(4)] for one in prompts],
        sampled_scores=[[level + rng.gauss(0, 0.8) for _ in range(4)] for _ in prompts],
    )


def scored_comparisons(count: int = 90) -> ScoredComparisons:
    rng = random.Random(3)
    comparisons, chosen, rejected = [], [], []
    for number in range(count):
        votes = rng.choice([(1.0,), (1.0,), (1.0, 1.0, 1.0), (1.0, 1.0, 0.0)])
        share = sum(votes) / len(votes)
        comparisons.append(Comparison(prompt(f"pair {number // 2}"), "good", "bad", share, votes=votes))
        chosen.append(rng.gauss(0.6, 1))
        rejected.append(rng.gauss(0, 1))
    return ScoredComparisons(comparisons, chosen, rejected)


def evaluation(memos: int = 24, questions: int = 8) -> dict[str, Any]:
    prompts = held_out(memos, questions)
    models = [
        outputs(prompts, "base", 0.04, -1.2),
        outputs(prompts, "sft", 0.82, 0.1),
        outputs(prompts, "policy", 0.86, 0.9),
    ]
    bars = Bars(group="memo", before_below=0.2, after_above=0.7, largest_loss=0.05)
    judge = Judge("reward", "policy")
    return evaluate(models, prompts, scored=scored_comparisons(), judge=judge, bars=bars, seed=11)


def write_stage(folder: Path, name: str, kind: str, config: dict[str, Any], **more: Any) -> Path:
    path = folder / f"{name}-0123456789ab"
    path.mkdir(parents=True)
    metrics = more.pop("metrics", [])
    record = {"name": name, "kind": kind, "key": "0123456789abcdef", "config": config, "inputs": {}, **more}
    (path / "artifact.json").write_text(json.dumps(record))
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    return path


def write_run(folder: Path, found: dict[str, Any] | None = None) -> list[Path]:
    """Artifact folders of a whole run, in order."""
    rng = random.Random(2)
    noise = lambda size: rng.gauss(0, size)  # noqa: E731
    sft = [
        {
            "step": step,
            "sft/loss": 0.4 + 2.9 * math.exp(-step / 14) + noise(0.05),
            "optim/grad_norm": 1 + abs(noise(0.6)),
            "optim/learning_rate": 2e-5 * (1 - step / 66),
        }
        for step in range(1, 67)
    ]
    reward_model = [
        {
            "step": step,
            "reward_model/loss": 0.69 - 0.25 * step / 20 + noise(0.04),
            "reward_model/accuracy": min(1.0, 0.5 + 0.3 * step / 20 + noise(0.05)),
            "optim/grad_norm": 2 + abs(noise(0.5)),
        }
        for step in range(1, 21)
    ]
    ppo = [
        {
            "step": step,
            "score/mean": 1.1 * (1 - math.exp(-step / 25)) + noise(0.15),
            "score/std": 0.7 + noise(0.05),
            "kl/ref": 3.2 * (1 - math.exp(-step / 30)) + abs(noise(0.1)),
            "policy/entropy": 0.42 - 0.15 * step / 60 + noise(0.02),
            "response/length": 36 - 3 * step / 60 + noise(1.0),
            "response/eos_fraction": min(1.0, 0.97 + noise(0.01)),
            "value/explained_variance": 0.7 * (1 - math.exp(-step / 10)) + noise(0.08),
            "policy/clip_fraction": 0.04 + abs(noise(0.02)),
            "policy/approx_kl": 0.004 + abs(noise(0.002)),
            "sampler/logprob_gap": 0.003 + abs(noise(0.001)),
            "optim/grad_norm": 1 + abs(noise(0.3)),
        }
        for step in range(1, 61)
    ]
    adapter = {"rank": 16, "alpha": 32}
    evaluated = write_stage(folder, "held-out", "evaluation", {"data": "heldout.jsonl"}, seconds=71.0, summary={})
    (evaluated / "evaluation.json").write_text(json.dumps(found or evaluation(80, 24)))
    return [
        write_stage(
            folder,
            "sft",
            "sft",
            {
                "model": "smollm2-135m-instruct",
                "num_epochs": 3,
                "batch_size": 16,
                "learning_rate": 2e-5,
                "adapter": None,
            },
            summary={"demonstrations": 350, "response_tokens": 14210},
            seconds=162.0,
            metrics=sft,
        ),
        write_stage(
            folder,
            "reward",
            "reward_model",
            {"model": "sft", "num_epochs": 1, "prompts_per_step": 16, "learning_rate": 1e-4, "adapter": adapter},
            summary={"comparisons": 320, "prompts": 160},
            seconds=75.0,
            metrics=reward_model,
        ),
        write_stage(
            folder,
            "policy",
            "ppo",
            {"model": "sft", "reward_model": "reward", "num_steps": 60, "kl_coef": 0.05, "adapter": adapter},
            summary={"prompts": 400, "responses": 3840},
            seconds=331.0,
            metrics=ppo,
        ),
        evaluated,
    ]


def content(folder: Path, found: dict[str, Any] | None = None) -> Any:
    from trimtab.evaluation.report.build import report_content

    return report_content(
        write_run(folder, found),
        title="Teaching a small model to write expense memos",
        recipe="demo",
        date="3 May 2031",
        machine={"processor": "2 cores, bfloat16", "memory": "8 GB", "peak memory": "3.1 GB", "system": "Linux"},
        command="trimtab run recipes/demo.yaml",
        repeat={"seed": "1", "trimtab": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        labelled_by="The comparisons were labelled by four invented clerks who follow written guidelines.",
    )
