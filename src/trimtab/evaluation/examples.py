"""Which answers to show side by side: a random sample, and the prompts on which the last model got worse."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from trimtab.evaluation.outputs import HeldOut, Judged


def pick_examples(
    models: Sequence[Judged], held_out: HeldOut, *, num_random: int, num_losses: int, seed: int
) -> dict[str, Any]:
    """Examples as JSON, with the rule that chose them. Nothing is chosen for looking good."""
    count = len(held_out.prompts)
    drawn = sorted(random.Random(seed).sample(range(count), min(num_random, count)))
    losses = _losses(models[-2], models[-1]) if len(models) > 1 else []
    shown = [index for index in losses if index not in drawn][:num_losses]
    items = [_example(models, held_out, index, "drawn at random") for index in drawn]
    items += [_example(models, held_out, index, "one of the largest losses") for index in shown]
    rule = f"{len(drawn)} of {count} prompts were drawn at random (seed {seed})."
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


def _example(models: Sequence[Judged], held_out: HeldOut, index: int, chosen: str) -> dict[str, Any]:
    prompt = held_out.prompts[index]
    return {
        "id": held_out.id(index),
        "kind": held_out.kind(index),
        "chosen": chosen,
        "prompt": [{"role": message.role, "content": message.content} for message in prompt.messages],
        "answers": [_answer(model, index) for model in models],
    }


def _answer(model: Judged, index: int) -> dict[str, Any]:
    completion = model.outputs.greedy[index]
    score = model.greedy[index] if model.greedy else None
    return {
        "model": model.outputs.name,
        "text": completion.text,
        "checks": dict(score.checks) if score is not None else {},
        "explanation": score.explanation if score is not None else "",
        "score": model.outputs.greedy_scores[index] if model.outputs.greedy_scores else None,
        "stopped": completion.finish_reason == "stop",
    }
