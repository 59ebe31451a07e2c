"""Every measured quantity of every model and group, and its paired difference from the model before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trimtab.evaluation.format import Unit
from trimtab.evaluation.outputs import Judged
from trimtab.evaluation.statistics import (
    Estimate,
    clustered_proportion,
    mcnemar,
    mean,
    paired_difference,
    paired_proportion_difference,
    proportion,
)
from trimtab.evaluation.tasks.answered import continuation


@dataclass(frozen=True, slots=True)
class Measure:
    """One quantity: `values[i]` holds prompt i's numbers (several when sampled), None where it does not apply."""

    name: str
    title: str
    unit: Unit
    sampled: bool
    values: list[list[float] | None]

    def over(self, prompts: Sequence[int]) -> dict[int, list[float]]:
        """The numbers of those of these prompts to which the measure applies."""
        return {index: found for index in prompts if (found := self.values[index]) is not None}


def measures_of(judged: Judged) -> list[Measure]:
    """Everything measured of one model, the most important first."""
    outputs, found = judged.outputs, []
    if judged.greedy:
        passed = [[float(score.passed)] for score in judged.greedy]
        found.append(Measure("pass", "Answers that pass every check", "share", False, [*passed]))
        for check in dict.fromkeys(name for score in judged.greedy for name in score.checks):
            each = [[float(score.checks[check])] if check in score.checks else None for score in judged.greedy]
            found.append(Measure(f"check:{check}", f"Pass the check “{check}”", "share", False, each))
    if judged.sampled:
        many = [[float(score.passed) for score in several] for several in judged.sampled]
        found.append(Measure("sampled_pass", "Sampled answers that pass every check", "share", True, [*many]))
    if outputs.sampled_scores:
        scores = [list(several) for several in outputs.sampled_scores]
        found.append(Measure("score", "Reward-model score of sampled answers", "score", True, [*scores]))
    elif outputs.greedy_scores:
        each = [[score] for score in outputs.greedy_scores]
        found.append(Measure("score", "Reward-model score of answers", "score", False, [*each]))
    answered = [[float(continuation(one) is None)] for one in outputs.greedy]
    found.append(Measure("answered", "Prompts that are answered and not continued", "share", False, [*answered]))
    lengths = [[float(len(one.token_ids))] for one in outputs.greedy]
    stopped = [[float(one.finish_reason == "stop")] for one in outputs.greedy]
    found.append(Measure("stopped", "Answers the model ends by itself", "share", False, [*stopped]))
    found.append(Measure("length", "Length of an answer", "tokens", False, [*lengths]))
    return found


def estimate(measure: Measure, prompts: Sequence[int]) -> Estimate | None:
    """The measure over a group of prompts; None where it applies to none of them."""
    by_prompt = measure.over(prompts)
    if not by_prompt:
        return None
    values = [value for several in by_prompt.values() for value in several]
    clusters = [index for index, several in by_prompt.items() for _ in several]
    if measure.unit != "share":
        return mean(values, clusters if measure.sampled else None)
    if measure.sampled:
        return clustered_proportion(values, clusters)
    return proportion(round(sum(values)), len(values))


def difference(before: Measure, after: Measure, prompts: Sequence[int]) -> dict[str, Any] | None:
    """The change between two models on the same prompts, as JSON; None where the measure does not apply."""
    old, new = before.over(prompts), after.over(prompts)
    if not old or old.keys() != new.keys():
        return None
    if before.unit == "share" and all(len(values) == 1 for values in (*old.values(), *new.values())):
        passed = [[bool(one[index][0]) for index in old] for one in (old, new)]
        test = {**asdict(mcnemar(*passed))}
        return {"estimate": paired_proportion_difference(*passed).to_json(), "mcnemar": test}
    means = [[sum(one[index]) / len(one[index]) for index in old] for one in (old, new)]
    return {"estimate": paired_difference(*means).to_json()}
