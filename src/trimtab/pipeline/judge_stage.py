"""The stage of AI feedback: a policy writes, a judge compares, and is itself measured where people gave labels."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from trimtab.config import JudgeStage
from trimtab.data.formats import read_comparisons, read_prompts
from trimtab.errors import DataError
from trimtab.evaluation.format import estimate_text
from trimtab.evaluation.injection_measures import InjectionReport, injection_report
from trimtab.evaluation.judge_measures import JudgeReport
from trimtab.evaluation.statistics import mean
from trimtab.feedback.chains import messages
from trimtab.feedback.injections import attack
from trimtab.feedback.judge import Judgement, Pair
from trimtab.generation.local import LocalModel
from trimtab.pipeline.artifacts import DATA
from trimtab.pipeline.context import Context
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.endpoints import keep_calls
from trimtab.pipeline.judges import Judge, measure_judge, open_judge
from trimtab.pipeline.kept_judgements import judge_and_keep
from trimtab.pipeline.reading import read_data
from trimtab.pipeline.resolve import Inputs, load_writer, source
from trimtab.seeds import mix
from trimtab.training.batches import permutation
from trimtab.training.encoding import watching
from trimtab.types import Message, Prompt

Row = dict[str, Any]
Record = TypeVar("Record")


def run_judge(config: JudgeStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Have answers compared by a model. Writes soft comparisons, and `judge.json` on how good the judge is.

    Answers and judgements are kept with the stage's state, so a stage that goes on ends as an uninterrupted one.
    """
    pairs = _pairs(config, inputs, context)
    judge, version = open_judge(config, inputs, context)
    report = _measured(judge, config, context) if config.trusted else None
    attacked = _attacked(judge, context) if config.injections else None
    judgements = judge_and_keep(judge, pairs, "pairs", context)
    keep_calls(config.endpoint, context)
    name = judge_name(config)
    rows = [_row(pair, found, name, version) for pair, found in zip(pairs, judgements, strict=True)]
    kept = [row for row in rows if row is not None]
    if not kept:
        reasons = ", ".join(f"{why} {count}" for why, count in Counter(found.why for found in judgements).items())
        raise DataError(f"the judge {name} labelled none of {len(pairs)} pairs: {reasons or 'all alike'}")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    (context.folder / DATA).write_text(text, encoding="utf-8")
    summary = {
        "pairs": len(pairs),
        "comparisons": len(kept),
        "left_out": dict(Counter(found.why for found in judgements if found.why)),
        "confidence": mean([row["probability"] for row in kept]).to_json() if len(kept) > 1 else None,
        "instructions": version,
        "trusted": report.to_json() if report is not None else None,
        "injections": attacked.to_json() if attacked is not None else None,
    }
    (context.folder / "judge.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
    return summary


def judge_name(config: JudgeStage) -> str:
    """What labels and messages call the judge: its last name alone, which tells nothing of a machine's folders."""
    return config.endpoint.model if config.endpoint is not None else Path(config.judge or "").name


def _pairs(config: JudgeStage, inputs: Inputs, context: Context) -> list[Pair]:
    """The pairs that the data holds, or all pairs of the model's different answers to each prompt of it.

    Answers are written once and then read again.
    """
    if config.model is None:
        comparisons = _drawn(read_comparisons, config, inputs, context)
        return [Pair(one.prompt, one.chosen, one.rejected) for one in comparisons]
    kept = context.state / "answers.json"
    if not kept.exists():
        prompts = _drawn(read_prompts, config, inputs, context)
        replace_text(kept, json.dumps(_write(config.model, prompts, config, inputs, context)))
    return [
        Pair(Prompt(tuple(Message(**turn) for turn in row["prompt"])), first, second)
        for row in json.loads(kept.read_text(encoding="utf-8"))
        for first, second in combinations(row["answers"], 2)
    ]


def _drawn(
    reader: Callable[..., Iterator[Record]], config: JudgeStage, inputs: Inputs, context: Context
) -> list[Record]:
    """`num_prompts` of the data's records, in its order."""
    records = list(read_data(reader, config, inputs, watching(context, "reading the data")))
    return [records[i] for i in sorted(permutation(len(records), context.seed)[: config.num_prompts])]


def _write(model: str, prompts: Sequence[Prompt], config: JudgeStage, inputs: Inputs, context: Context) -> list[Row]:
    policy = load_writer(source(inputs, model), context.runtime, allow_remote_code=config.allow_remote_code)
    groups = LocalModel(policy, name=model).write(
        prompts,
        group_size=config.group_size,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=mix(context.seed, 1),
        on_progress=lambda done, total: context.progress("writing answers", done, total),
    )
    del policy
    gc.collect()  # a model holds itself in cycles, and the judge may be another one
    kept = [[one for one in group if one.finish_reason == "stop" or not config.finished_only] for group in groups]
    written, finished = (sum(map(len, several)) for several in (groups, kept))
    if finished < written:
        context.warn(
            f"{written - finished:,} of {written:,} answers were cut at {config.max_new_tokens} tokens and left out; a "
            "larger max_new_tokens lets more of them end"
        )
    return [
        {"prompt": messages(prompt), "answers": list(dict.fromkeys(one.text for one in group))}
        for prompt, group in zip(prompts, kept, strict=True)
    ]


def _measured(judge: Judge, config: JudgeStage, context: Context) -> JudgeReport:
    """The judge on comparisons that people labelled. The run is warned when it does no better than guessing."""
    trusted = list(read_comparisons(config.trusted or ""))
    report = measure_judge(lambda pairs: judge_and_keep(judge, pairs, "trusted", context), trusted)
    if report.accuracy is not None and not report.beats_chance:
        context.warn(
            f"the judge {judge_name(config)} does not beat guessing on {config.trusted}: accuracy "
            f"{estimate_text(report.accuracy, 'share')}, n = {report.accuracy.n}. What it says here is mostly noise; "
            "take a better judge: a reward model trained on some labels, or a larger model"
        )
    return report


def _attacked(judge: Judge, context: Context) -> InjectionReport:
    """The judge on answers that tell it what to say, added to the worse ones of easy pairs."""
    names = iter(("easy pairs", "attacks"))
    return injection_report(attack(lambda pairs: judge_and_keep(judge, pairs, next(names), context)))


def _row(pair: Pair, found: Judgement, judge: str, version: str) -> Row | None:
    """A comparison with the likelier answer as `chosen`; nothing where the judge gave no probability."""
    if found.probability is None:
        return None
    first_is_better = found.probability >= 0.5
    chosen, rejected = (pair.first, pair.second) if first_is_better else (pair.second, pair.first)
    return {
        "prompt": messages(pair.prompt),
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
        "probability": max(found.probability, 1 - found.probability),
        "annotators": [f"model:{judge}"],
        "instructions_version": version,
    }
