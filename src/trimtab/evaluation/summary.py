"""An evaluation as one JSON-able result: what `evaluation.json` holds and the report shows.

    schema         1
    models         names in order: base, sft, policy
    groups         group -> number of prompts; "all" is every prompt
    kinds          name -> kind of the stage that made the model, empty for one from outside, "templated" for the base
                   asked a second time
    samples_per_prompt, seed, bars (or null), promises
    metrics        [{metric, title, unit, group, sampled, by_model: {name: estimate or null}}]
    differences    [{metric, title, unit, group, sampled, before, after, estimate, mcnemar?}], of `compared` models
    judge          {name, trained} or null: the reward model that scores, and the model that was trained to please it,
                   empty if none was
    trained_on_checks   models whose training was scored by checks like those of the held-out prompts
    win_rate       {before, after, estimate, won, tied, lost, judge, note} or null: last model against the one before
    reward_model   {name, trained, accuracy, comparisons, left_out, by_agreement: {level: estimate}, by_annotator:
                   {name: estimate}, by_group: {attribute: {value: estimate}}, agreement, ceiling} or null; levels:
                   unanimous, majority, split, one vote
    examples       {rule, worse, items: [{id, kind, chosen, prompt, answers: [{model, text, checks, explanation, score,
                   stopped, continues}]}]}; continues says why it is no answer, empty if it is one
    verdicts       [{claim, bar, outcome: met | not met | open, finding}]

An estimate is {value, low, high, n, method}; a bound is null when it is unknown. Units: share (0 to 1), score, tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trimtab.errors import DataError
from trimtab.evaluation.examples import pick_examples
from trimtab.evaluation.measures import Measure, difference, estimate, measures_of
from trimtab.evaluation.outputs import TEMPLATED, HeldOut, Judged, ModelOutputs, group_prompts, run_checks
from trimtab.evaluation.representation import Attributes
from trimtab.evaluation.tasks.reward_accuracy import RewardAccuracy, reward_accuracy
from trimtab.evaluation.tasks.vote_accuracy import accuracy_by_annotator, accuracy_by_group
from trimtab.evaluation.tasks.win_rate import judged_win_rate
from trimtab.evaluation.verdicts import Bars, Promise, verdicts_on
from trimtab.types import Comparison, Prompt

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScoredComparisons:
    """Held-out comparisons and the score of each response."""

    comparisons: Sequence[Comparison]
    chosen: Sequence[float]
    rejected: Sequence[float]
    attributes: Attributes = field(default_factory=dict)
    """What the annotators said of themselves."""


@dataclass(frozen=True, slots=True)
class Judge:
    """The reward model that scores: its name, and the model that was trained to please it (empty if none was)."""

    name: str = ""
    trained: str = ""


def evaluate(
    models: Sequence[ModelOutputs],
    prompts: Sequence[Prompt],
    *,
    scored: ScoredComparisons | None = None,
    judge: Judge | None = None,
    trained_on_checks: Sequence[str] = (),
    bars: Bars | None = None,
    promises: Sequence[Promise] = (),
    num_random: int = 6,
    num_losses: int = 4,
    seed: int,
) -> Row:
    """Measure models on held-out prompts and judge the headline claims; the result is plain JSON values.

    `models` are in the order of training; `trained_on_checks` names those whose training was scored by checks. Groups
    come from each prompt's `kind` column, checks from `truth`. Raises `DataError` when there are no prompts or models,
    when a name comes twice, or when an output is missing.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise DataError(f"an evaluation needs models with different names, not {names}")
    held_out = group_prompts(prompts)
    for group in [one.group for one in (bars, *promises) if one is not None]:
        if group not in held_out.groups:
            raise DataError(
                f"a promise speaks of the group {group!r}, but held-out prompts are in {[*held_out.groups]}"
            )
    judged = [run_checks(model, prompts) for model in models]
    judge = judge or Judge()
    result: Row = {
        "schema": 1,
        "models": names,
        "kinds": {model.name: model.kind for model in models},
        "groups": {name: len(indices) for name, indices in held_out.groups.items()},
        "samples_per_prompt": len(models[0].sampled[0]) if models[0].sampled else 0,
        "seed": seed,
        "bars": asdict(bars) if bars is not None else None,
        "promises": [asdict(promise) for promise in promises],
        "judge": asdict(judge) if judge.name else None,
        "trained_on_checks": [name for name in names if name in trained_on_checks],
        **_metrics_and_differences(judged, held_out),
        "win_rate": _win_rate(models, judge),
        "reward_model": _reward_model(scored, judge),
        "examples": pick_examples(judged, held_out, num_random=num_random, num_losses=num_losses, seed=seed),
    }
    return {**result, "verdicts": [verdict.to_json() for verdict in verdicts_on(result, bars, promises)]}


def _metrics_and_differences(judged: Sequence[Judged], held_out: HeldOut) -> dict[str, list[Row]]:
    measured = {model.outputs.name: {one.name: one for one in measures_of(model)} for model in judged}
    names, models = list(measured), [one.outputs for one in judged]
    metrics: list[Row] = []
    differences: list[Row] = []
    for group, prompts in held_out.groups.items():
        for measure in {key: one for found in measured.values() for key, one in found.items()}.values():
            by_model = {name: measured[name].get(measure.name) for name in names}
            found = {name: estimate(one, prompts) if one else None for name, one in by_model.items()}
            if not any(found.values()):
                continue
            head = _head(measure, group)
            metrics.append(head | {"by_model": {name: one.to_json() if one else None for name, one in found.items()}})
            for before, after in compared(models):
                old, new = by_model[before], by_model[after]
                change = difference(old, new, prompts) if old and new else None
                if change is not None:
                    differences.append(head | {"before": before, "after": after} | change)
    return {"metrics": metrics, "differences": differences}


def compared(models: Sequence[ModelOutputs]) -> list[tuple[str, str]]:
    """The pairs of models whose difference is taken: each with the one before, the last with the first, and what comes
    after a base that was asked both ways with both."""
    names = [model.name for model in models]
    pairs = list(itertools.pairwise(names))
    if len(models) > 2 and models[1].kind == TEMPLATED:
        pairs.insert(1, (names[0], names[2]))
    if len(models) > 2:
        pairs.append((names[0], names[-1]))
    return list(dict.fromkeys(pairs))


def _head(measure: Measure, group: str) -> Row:
    return {
        "metric": measure.name,
        "title": measure.title,
        "unit": measure.unit,
        "group": group,
        "sampled": measure.sampled,
    }


def _win_rate(models: Sequence[ModelOutputs], judge: Judge) -> Row | None:
    if len(models) < 2 or not models[-1].sampled_scores or not models[-2].sampled_scores:
        return None
    before, after = models[-2:]
    who = "the policy's reward model" if judge.trained else "reward model"
    found = judged_win_rate(after.sampled_scores, before.sampled_scores, who)
    return {"before": before.name, "after": after.name, **asdict(found), "estimate": found.estimate.to_json()}


def _reward_model(scored: ScoredComparisons | None, judge: Judge) -> Row | None:
    if scored is None:
        return None
    found: RewardAccuracy | None = reward_accuracy(scored.comparisons, scored.chosen, scored.rejected)
    if found is None:
        return None
    by_annotator = accuracy_by_annotator(scored.comparisons, scored.chosen, scored.rejected)
    return {
        "name": judge.name,
        "trained": judge.trained,
        "accuracy": found.overall.to_json(),
        "comparisons": len(scored.comparisons),
        "left_out": found.left_out,
        "by_agreement": {name: one.to_json() for name, one in found.by_agreement.items()},
        "by_annotator": {name: one.to_json() for name, one in by_annotator.items()},
        "by_group": _by_group(scored),
        "agreement": found.agreement.to_json() if found.agreement else None,
        "ceiling": found.ceiling.to_json() if found.ceiling else None,
    }


def _by_group(scored: ScoredComparisons) -> Row:
    """Accuracy against the votes of groups of annotators, by what they said of themselves; none of fewer than five."""
    found: Row = {}
    for attribute in sorted({name for said in scored.attributes.values() for name in said}):
        values = {who: said[attribute] for who, said in scored.attributes.items() if attribute in said}
        groups = accuracy_by_group(scored.comparisons, scored.chosen, scored.rejected, values)
        if groups:
            found[attribute] = {name: one.to_json() for name, one in groups.items()}
    return found
