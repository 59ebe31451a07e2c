"""From the artifact folders of a run to the report's content."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.evaluation.format import estimate_text, value_text
from trimtab.evaluation.outputs import TEMPLATED
from trimtab.evaluation.report.content import (
    Answer,
    Difference,
    Example,
    Fact,
    Headline,
    MetricRow,
    Report,
    Stage,
    WinRate,
)
from trimtab.evaluation.report.figures import figures_of
from trimtab.evaluation.report.narrative import here, model_notes, scored_by_checks, summary_text
from trimtab.evaluation.report.records import StageRecord, read_stage
from trimtab.evaluation.report.texts import (
    BY_AGREEMENT,
    NOT_TESTED,
    NOT_TESTED_ON_TEXT,
    RED_TEAM,
    SAFETY_IN_PART,
    SAFETY_NOT_TESTED,
    SCORED_BY,
    TITLES,
    WHAT,
)
from trimtab.evaluation.statistics import Estimate
from trimtab.evaluation.verdicts import Verdict

KEY_SETTINGS: Mapping[str, str] = {
    "model": "starts from",
    "reward_model": "judge",
    "data": "data",
    "held_out": "share held out",
    "adapter": "adapter",
    "num_steps": "steps",
    "num_epochs": "passes over the data",
    "batch_size": "examples or rows a step",
    "max_length": "longest row (tokens)",
    "prompts_per_step": "prompts a step",
    "group_size": "answers a prompt",
    "max_new_tokens": "longest answer (tokens)",
    "temperature": "temperature",
    "learning_rate": "learning rate",
    "kl_coef": "price of drift (kl_coef)",
    "beta": "price of drift (beta)",
    "clip_eps": "clip",
}
OF_TRAINING_STEPS = ("adapter", "num_epochs", "prompts_per_step", "learning_rate")
HEADLINES = ("pass", "score", "bits_per_byte", "style")
"""Measures whose change is told beside the stage that brought it."""


def report_content(
    folders: Sequence[Path],
    *,
    title: str,
    recipe: str,
    date: str,
    machine: Mapping[str, str],
    command: str,
    repeat: Mapping[str, str],
    labelled_by: str = "",
    pages: Mapping[str, str] | None = None,
) -> Report:
    """The report on a run whose artifact folders are given in the order the stages ran.

    `pages` are files beside the report, by stage, on which all that a stage wrote can be read. `machine` and `repeat`
    are named values to print (processor, threads; seed, versions); `labelled_by` says in a sentence who made the
    comparisons. Stages that train are told; the last one with an `evaluation.json` gives the numbers. Raises
    `DataError` for a folder that is no artifact.
    """
    records = [read_stage(Path(folder)) for folder in folders]
    evaluations = [record.evaluation for record in records if record.evaluation is not None]
    evaluation = evaluations[-1] if evaluations else {}
    models = tuple(evaluation.get("models", ()))
    metrics = tuple(_metric(row, models) for row in evaluation.get("metrics", ()))
    headline = _headline(evaluation, metrics)
    counted = evaluation.get("counted", "prompts")
    compared = [name for name in models if name != evaluation.get("reference")]
    return Report(
        title=title,
        recipe=recipe,
        date=date,
        models=models,
        summary=summary_text(headline, compared, sum(record.seconds for record in records), counted=counted),
        counted=counted,
        model_notes=model_notes(models, evaluation.get("kinds", {})),
        headline=headline,
        verdicts=tuple(Verdict(**verdict) for verdict in evaluation.get("verdicts", ())),
        stages=tuple(
            _stage(record, evaluation, (pages or {}).get(record.name, ""))
            for record in records
            if record.kind in TITLES
        ),
        metrics=metrics,
        differences=tuple(_difference(row, counted) for row in evaluation.get("differences", ())),
        win_rate=_win_rate(evaluation.get("win_rate")),
        examples=tuple(_example(item) for item in evaluation.get("examples", {}).get("items", ())),
        examples_rule=evaluation.get("examples", {}).get("rule", ""),
        limits=_limits(evaluation, labelled_by) + _style_limits(evaluation) + _shared_teaching(records, models),
        not_tested=_not_tested(evaluation),
        machine=_facts(machine),
        command=command,
        repeat=_facts(repeat),
    )


def _not_tested(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader should not take from this report, by what was measured."""
    if "style_classifier" in evaluation:
        return NOT_TESTED_ON_TEXT
    if RED_TEAM in evaluation.get("groups", ()):
        return tuple(SAFETY_IN_PART if text == SAFETY_NOT_TESTED else text for text in NOT_TESTED)
    return NOT_TESTED


def _headline(evaluation: Mapping[str, Any], metrics: Sequence[MetricRow]) -> MetricRow | None:
    """The share answered where a base was asked both ways, else the pass share that the first promise speaks of.

    Where neither was measured, the reward model's score of all prompts, or the share in the style.
    """
    bars = evaluation.get("bars") or {}
    promised = [one["group"] for one in (bars, *evaluation.get("promises", ())) if one]
    wanted_rows = [("pass", (promised or ["all"])[0]), ("score", "all"), ("style", "all")]
    if TEMPLATED in evaluation.get("kinds", {}).values():
        wanted_rows.insert(0, ("answered", "all"))
    for name, wanted in wanted_rows:
        for row, metric in zip(evaluation.get("metrics", ()), metrics, strict=True):
            if (row["metric"], row["group"]) == (name, wanted):
                return metric
    return None


def _stage(record: StageRecord, evaluation: Mapping[str, Any], page: str) -> Stage:
    config = dict(record.config) | ({"reward_model": SCORED_BY} if scored_by_checks(record) else {})
    idle = OF_TRAINING_STEPS if config.get("frozen") else ()
    shown = {key: label for key, label in KEY_SETTINGS.items() if key in config and key not in idle}
    settings = [Fact(label, _setting(config[key])) for key, label in shown.items()]
    return Stage(
        name=record.name,
        kind=record.kind,
        title=TITLES[record.kind],
        what=WHAT[record.kind],
        here=here(record),
        seconds=record.seconds,
        settings=tuple(fact for fact in settings if fact.value),
        all_settings=json.dumps(record.config, indent=2, ensure_ascii=False, sort_keys=True, default=str),
        figures=figures_of(record),
        headlines=_headlines(record, evaluation),
        page=page,
    )


def _headlines(record: StageRecord, evaluation: Mapping[str, Any]) -> tuple[Headline, ...]:
    """What the evaluation says of this stage: the reward model's accuracy, or the change its model brought."""
    if record.kind == "reward_model":
        found = evaluation.get("reward_model")
        if not found or found["name"] != record.name:
            return ()
        accuracy = Estimate.from_json(found["accuracy"])
        return (
            Headline("Right on comparisons it never saw", accuracy, "share", 0.5, "guessing"),
            *(
                Headline(label, Estimate.from_json(found["by_agreement"][level]), "share", 0.5, "guessing")
                for level, label in BY_AGREEMENT.items()
                if level in found.get("by_agreement", {})
            ),
            *(
                Headline(f"By votes of people: {attribute} {value}", Estimate.from_json(one), "share", 0.5, "guessing")
                for attribute, groups in found.get("by_group", {}).items()
                for value, one in groups.items()
            ),
        )
    step = next((pair for pair in itertools.pairwise(evaluation.get("models", ())) if pair[1] == record.name), None)
    shown = {*HEADLINES} | ({"answered"} if TEMPLATED in evaluation.get("kinds", {}).values() else set())
    return tuple(
        Headline(f"{row['title']}: {row['after']} minus {row['before']}", found, row["unit"], 0.0, "no change")
        for row in evaluation.get("differences", ())
        if row["metric"] in shown and row["group"] == "all" and (row["before"], row["after"]) == step
        for found in [Estimate.from_json(row["estimate"])]
    )


def _metric(row: Mapping[str, Any], models: Sequence[str]) -> MetricRow:
    found = [row["by_model"][name] for name in models]
    estimates = tuple(Estimate.from_json(one) if one else None for one in found)
    return MetricRow(row["title"], row["group"], row["unit"], estimates, _is_detail(row))


def _difference(row: Mapping[str, Any], counted: str) -> Difference:
    test = row.get("mcnemar")
    note = ""
    if test:
        p_value = "below 0.0001" if test["p_value"] < 1e-4 else f"{test['p_value']:.2g}"
        note = (
            f"{test['only_after']} {counted} gained, {test['only_before']} lost; McNemar's test ({test['method']}): "
            f"p {p_value}"
        )
    estimate = Estimate.from_json(row["estimate"])
    return Difference(
        row["title"], row["group"], row["unit"], row["before"], row["after"], estimate, note, _is_detail(row)
    )


def _is_detail(row: Mapping[str, Any]) -> bool:
    """Single checks and single kinds of prompts are details."""
    return row["metric"].startswith("check:") or row["group"] != "all"


def _win_rate(found: Mapping[str, Any] | None) -> WinRate | None:
    if not found:
        return None
    shares = {name: found[name] for name in ("before", "after", "won", "tied", "lost", "note")}
    return WinRate(estimate=Estimate.from_json(found["estimate"]), **shares)


def _example(item: Mapping[str, Any]) -> Example:
    turns = item["prompt"]
    prompt = turns[0]["content"] if len(turns) == 1 else "\n\n".join(f"{t['role']}: {t['content']}" for t in turns)
    answers = tuple(Answer(**{**answer, "checks": tuple(answer["checks"].items())}) for answer in item["answers"])
    return Example(item["id"], item["kind"], prompt, item["chosen"], answers)


def _limits(evaluation: Mapping[str, Any], labelled_by: str) -> tuple[str, ...]:
    limits = [labelled_by] if labelled_by else []
    found = evaluation.get("reward_model")
    if found:
        accuracy = Estimate.from_json(found["accuracy"])
        text = (
            f"The reward model is right on {estimate_text(accuracy, 'share')} of {found['comparisons']} unseen "
            f"comparisons ({accuracy.n} prompts); guessing gives 50 %."
        )
        if found["trained"]:
            text += f" Whatever it gets wrong, {found['trained']} was trained towards too."
        if found.get("left_out"):
            text += f" {found['left_out']} comparisons on which annotators were split evenly are left out."
        limits.append(text)
        if found.get("agreement") and found.get("ceiling"):
            agreement, ceiling = (Estimate.from_json(found[name]) for name in ("agreement", "ceiling"))
            limits.append(
                f"Two annotators of the same pair agree {estimate_text(agreement, 'share')} of the time (n = "
                f"{agreement.n} pairs of answers). If each is right independently of the other, even a perfect judge "
                f"would agree with a single annotator only {estimate_text(ceiling, 'share')} of the time."
            )
    return tuple(limits)


def _style_limits(evaluation: Mapping[str, Any]) -> tuple[str, ...]:
    """How far the style classifier can be trusted, and what it goes by."""
    found = evaluation.get("style_classifier")
    if not found:
        return ()
    accuracy = Estimate.from_json(found["accuracy"])
    speaks_for, speaks_against = (", ".join(map(_visible, found[name])) for name in ("for", "against"))
    sides = [value_text(Estimate.from_json(found[side]).value, "share") for side in ("right_on_text", "right_on_base")]
    return (
        f"The style classifier is right on {estimate_text(accuracy, 'share')} of passages it did not learn from (n = "
        f"{accuracy.n}); guessing gives 50 %. It learnt from the text and from what the model wrote before training, "
        "at the same places, and goes by how often three characters follow one another. No model was trained to please "
        "it.",
        f"It is right on {sides[0]} of the text and on {sides[1]} of what the model wrote before training; some of "
        "that may well be in the style, as the opening line hints at it.",
        f"What speaks most for the style here: {speaks_for}. Most against it: {speaks_against}. (␣ is a space, ⏎ a "
        "line end.)",
        "The text itself shows what can be reached: its share in the style is that of a perfect imitation, and the "
        "runs of 8 words that it shares with the part learnt from came without copying.",
    )


def _visible(characters: str) -> str:
    return f"“{characters.replace(' ', '␣').replace(chr(10), '⏎')}”"


def _shared_teaching(records: Sequence[StageRecord], models: Sequence[str]) -> tuple[str, ...]:
    """Where a model learnt from what also measures it, other than by being scored by the reward model."""
    judges = [record for record in records if record.kind == "reward_model"]
    shared = []
    for record in records:
        if record.name in models and scored_by_checks(record):
            shared.append(
                f"{record.name} practised passing checks like those it is measured by, on other requests. That it "
                "passes them on requests it never saw is what it was taught; whether its answers are better in other "
                "ways, the checks cannot tell."
            )
        data = record.config.get("data")
        if record.name in models and record.kind == "dpo" and data in [judge.config.get("data") for judge in judges]:
            shared.append(
                f"{record.name} and the reward model learnt from the same comparisons. What those get wrong, both may "
                "have learnt, so the score is not a second opinion on them."
            )
    return tuple(shared)


def _setting(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_setting(inner)}" for name, inner in value.items() if inner not in (None, [], ()))
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _facts(named: Mapping[str, str]) -> tuple[Fact, ...]:
    return tuple(Fact(name, str(value)) for name, value in named.items())
