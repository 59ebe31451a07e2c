"""Self-Instruct as a stage: rounds of new tasks until there are enough, each kept, and what became of them all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles
from typing import Any

from trimtab.config import SelfInstructStage
from trimtab.data.decontamination import HeldOut
from trimtab.data.filters import INSTANCE_FILTERS, INSTRUCTION_FILTERS
from trimtab.data.formats import read_prompts
from trimtab.data.rouge import tokens
from trimtab.data.seed_tasks import Instance, Task, read_seed_tasks
from trimtab.errors import Interrupted
from trimtab.feedback.language_model import LanguageModel
from trimtab.feedback.self_instruct import PROMPT_VERSION, Asking, Pool, demonstration, grow
from trimtab.generation.local import LocalModel
from trimtab.pipeline.artifacts import DATA
from trimtab.pipeline.context import Context
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.endpoints import keep_calls, stage_endpoint
from trimtab.pipeline.reading import read_data
from trimtab.pipeline.resolve import Inputs, load_writer, source
from trimtab.training.encoding import watching

POOL, COUNTS = "pool.json", "self_instruct.json"
Row = dict[str, Any]


def run_self_instruct(config: SelfInstructStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Make tasks from the seeds. Writes them as demonstrations, and how many each filter dropped."""
    seeds = list(read_data(read_seed_tasks, config, inputs, watching(context, "reading the seed tasks")))
    held_out = HeldOut(prompt for file in config.held_out for prompt in read_prompts(file))
    pool = _read(context.state / POOL)
    name = config.endpoint.model if config.endpoint else config.model
    if _is_wanted(pool, config):
        pool = _grown(_open(config, inputs, context), seeds, pool, held_out, config, context)
    keep_calls(config.endpoint, context)
    rows = [*_seed_rows(seeds, held_out)] if config.include_seeds else []
    tasks = pool.tasks[: config.num_instructions]
    new = [*_new_rows(tasks, {"generator": name, "seed": context.seed}, held_out)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows + new)
    (context.folder / DATA).write_text(text, encoding="utf-8")
    counts = _counts(pool, tasks, len(seeds)) | {"seed_rows": len(rows)}
    (context.folder / COUNTS).write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    return counts


def _is_wanted(pool: Pool, config: SelfInstructStage) -> bool:
    """Whether there is to be another round."""
    return len(pool.tasks) < config.num_instructions and pool.rounds < config.max_rounds


def _grown(
    model: LanguageModel,
    seeds: Sequence[Task],
    pool: Pool,
    held_out: HeldOut,
    config: SelfInstructStage,
    context: Context,
) -> Pool:
    """The pool after all rounds. It is kept after each."""
    asking = Asking(
        tasks=config.tasks_per_round,
        human_examples=config.human_examples,
        machine_examples=config.machine_examples,
        instances=config.instances_per_task,
        instruction_tokens=config.instruction_tokens,
        instance_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        alike=config.rouge_threshold,
    )
    while _is_wanted(pool, config):
        if context.stop_requested():
            raise Interrupted(f"stopped after {pool.rounds} rounds with {len(pool.tasks)} tasks, which are saved")
        kept = len(pool.tasks)

        def progress(what: str, done: int, total: int, kept: int = kept) -> None:
            context.progress(f"{kept} of {config.num_instructions} tasks; {what}", done, total)

        pool = grow(model, seeds, pool, asking, held_out, seed=context.seed, progress=progress)
        replace_text(context.state / POOL, json.dumps(asdict(pool)))
    if len(pool.tasks) < config.num_instructions:
        context.warn(
            f"{len(pool.tasks)} tasks were kept in {pool.rounds} rounds, of {config.num_instructions} wanted: most of "
            f"what the model writes is dropped ({COUNTS} says why). More rounds: max_rounds"
        )
    return pool


def _open(config: SelfInstructStage, inputs: Inputs, context: Context) -> LanguageModel:
    """What writes: here, or behind a server."""
    if config.model is None:
        return stage_endpoint(config.endpoint, context)
    folder = source(inputs, config.model)
    policy = load_writer(folder, context.runtime, allow_remote_code=config.allow_remote_code)
    return LocalModel(policy, name=config.model)


def _read(path: Path) -> Pool:
    """The pool as it was kept, an empty one at first."""
    if not path.exists():
        return Pool()
    values = json.loads(path.read_text(encoding="utf-8"))
    tasks = [
        Task(
            **{
                **task,
                "instances": tuple(Instance(**one) for one in task["instances"]),
                "parents": tuple(task["parents"]),
            }
        )
        for task in values["tasks"]
    ]
    return Pool(**{**values, "tasks": tuple(tasks), "instructions": tuple(values["instructions"])})


def _seed_rows(seeds: Sequence[Task], held_out: HeldOut) -> Iterator[Row]:
    """The seeds themselves, but for what overlaps with held-out data."""
    for task in seeds:
        for number, instance in enumerate(task.instances, start=1):
            if not held_out.find(demonstration(task.instruction, instance)):
                yield {**_row(task, instance, number), "source": "seed"}


def _new_rows(tasks: Sequence[Task], origin: Row, held_out: HeldOut) -> Iterator[Row]:
    """New tasks with all that is known of where they come from."""
    passed = [*INSTRUCTION_FILTERS, "cut off", "ROUGE-L", *INSTANCE_FILTERS, "contradiction", "repetition"]
    passed += ["held-out data"] if len(held_out) else []
    for task in tasks:
        for number, instance in enumerate(task.instances, start=1):
            yield {
                **_row(task, instance, number),
                "source": "model",
                **origin,
                "round": task.round,
                "parents": list(task.parents),
                "prompt_version": PROMPT_VERSION,
                "filters": passed,
                "nearest_seed": round(task.nearest_seed, 3),
            }


def _row(task: Task, instance: Instance, number: int) -> Row:
    return {
        "id": f"{task.id}/{number}",
        "instruction": task.instruction,
        "input": instance.input,
        "output": instance.output,
        "is_classification": task.is_classification,
    }


def _counts(pool: Pool, tasks: Sequence[Task], num_seeds: int) -> Row:
    """What was asked for, what was dropped and why, what was kept, and what that is like. Lengths are in words."""
    instances = [one for task in tasks for one in task.instances]
    return {
        "seeds": num_seeds,
        "rounds": pool.rounds,
        "instructions": {"asked": pool.asked, "parsed": pool.parsed, "new": len(pool.instructions)},
        "instances": {"asked": pool.instances_asked, "parsed": pool.instances_parsed},
        "dropped": {name: count for name, count in pool.dropped.items() if count},
        "kept": {
            "tasks": len(tasks),
            "instances": len(instances),
            "classifications": sum(task.is_classification for task in tasks),
            "without_input": sum(not one.input for one in instances),
        },
        "words": {
            "instruction": _quartiles([len(tokens(task.instruction)) for task in tasks]),
            "input": _quartiles([len(tokens(one.input)) for one in instances if one.input]),
            "output": _quartiles([len(tokens(one.output)) for one in instances]),
        },
        "nearest_seed_rouge_l": _quartiles([task.nearest_seed for task in tasks]),
    }


def _quartiles(numbers: Sequence[float]) -> list[float]:
    """Least, quartiles and greatest; none of no numbers."""
    if len(numbers) < 2:
        return [float(one) for one in numbers]
    return [round(one, 3) for one in (min(numbers), *quantiles(numbers, n=4, method="inclusive"), max(numbers))]
