"""Which answers to show side by side: a random sample, and the prompts on which the last model got worse."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from trimtab.evaluation.outputs import HeldOut, Judged
from trimtab.evaluation.tasks.answered import continuation
from trimtab.evaluation.tasks.task import Score
from trimtab.types import Completion, Prompt


def pick_examples(
    models: Sequence[Judged], held_out: HeldOut, *, num_random: int, num_losses: int, seed: int
) -> dict[str, Any]:
    """Examples as JSON, with the rule that chose them. Nothing is chosen for looking good."""
    count = len(held_out.prompts)
    drawn = sorted(random.Random(seed).sample(range(count), min(num_random, count)))
    losses = _losses(models[-2], models[-1]) if len(models) > 1 else []
    shown = [index for index in losses if index not in drawn][:num_losses]
    items = [_always_shown(models, number) for number in range(len(models[0].outputs.shown))]
    items += [_example(models, held_out, index, "drawn at random") for index in drawn]
    items += [_example(models, held_out, index, "one of the largest losses") for index in shown]
    rule = "The first are shown in every run, and not counted in the numbers. " if models[0].outputs.shown else ""
    rule += f"{len(drawn)} of {count} prompts were drawn at random (seed {seed})."
    if len(models) > 1:
        old, new = models[-2].outputs.name, models[-1].outputs.name
        rule += (
            f" On {len(losses)} of {count} prompts {new} did worse than {old}: fewer checks passed, or as many and a "
            f"lower reward-model score. Of those, the {len(shown)} largest losses not already drawn are shown too."
        )
    return {"rule": rule, "worse": len(losses), "items": items}


def _losses(before: Judged, after: Judged) -> list[int]:
    """Prompts on which the greedy answer got worse, the largest loss first."""
    falls: list[tuple[int, float, int]] = []
    for index in range(len(after.outputs.greedy)):
        checks = _checks_passed(before, index) - _checks_passed(after, index)
        score = _greedy_score(before, index) - _greedy_score(after, index)
        if checks > 0 or (checks == 0 and score > 0):
            falls.append((checks, score, index))
    falls.sort(key=lambda fall: (-fall[0], -fall[1], fall[2]))
    return [index for _, _, index in falls]


def _checks_passed(model: Judged, index: int) -> int:
    return sum(model.greedy[index].checks.values()) if model.greedy else 0


def _greedy_score(model: Judged, index: int) -> float:
    return model.outputs.greedy_scores[index] if model.outputs.greedy_scores else 0.0


def _always_shown(models: Sequence[Judged], number: int) -> dict[str, Any]:
    prompt = models[0].outputs.shown[number].prompt
    answers = [_answer(model.outputs.name, model.outputs.shown[number]) for model in models]
    return _item(prompt, f"shown-{number + 1}", "", "shown in every run", answers)


def _example(models: Sequence[Judged], held_out: HeldOut, index: int, chosen: str) -> dict[str, Any]:
    answers = [
        _answer(
            model.outputs.name,
            model.outputs.greedy[index],
            model.greedy[index] if model.greedy else None,
            model.outputs.greedy_scores[index] if model.outputs.greedy_scores else None,
        )
        for model in models
    ]
    return _item(held_out.prompts[index], held_out.id(index), held_out.kind(index), chosen, answers)


def _item(prompt: Prompt, id: str, kind: str, chosen: str, answers: list[dict[str, Any]]) -> dict[str, Any]:
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return {"id": id, "kind": kind, "chosen": chosen, "prompt": messages, "answers": answers}


def _answer(
    name: str, completion: Completion, checked: Score | None = None, score: float | None = None
) -> dict[str, Any]:
    return {
        "model": name,
        "text": completion.text,
        "checks": dict(checked.checks) if checked is not None else {},
        "explanation": checked.explanation if checked is not None else "",
        "score": score,
        "stopped": completion.finish_reason == "stop",
        "continues": continuation(completion) or "",
    }
