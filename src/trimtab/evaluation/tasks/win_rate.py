"""How often one model's answer beats another's to the same prompt, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.evaluation.statistics import Estimate, win_rate

JUDGES = {
    "reward model": (
        "Judged by a reward model that no model here was trained to please. It is a model too: read this beside the "
        "checks."
    ),
    "the policy's reward model": (
        "Judged by the reward model that the policy was trained to please. It is not an independent judge: a policy "
        "can learn to please it without getting better. Read this beside the checks."
    ),
    "truth checks": "Judged by fixed checks against known truth, which played no part in the training.",
}


@dataclass(frozen=True, slots=True)
class WinRate:
    """Share of comparisons won, ties counting one half. `note` says plainly who judged."""

    estimate: Estimate
    won: float
    tied: float
    lost: float
    judge: str
    note: str


def judged_win_rate(after: Sequence[Sequence[float]], before: Sequence[Sequence[float]], judge: str) -> WinRate:
    """Compare every answer `after` with every answer `before` to the same prompt, by their scores.

    `after[i]` and `before[i]` are the scores of the two models' answers to prompt i; a model may have several. `judge`
    is a key of `JUDGES`. The interval is clustered by prompt.
    """
    outcomes: list[float] = []
    prompts: list[int] = []
    wins = ties = pairs = 0
    for index, (new, old) in enumerate(zip(after, before, strict=True)):
        for score in new:
            won, tied = sum(score > other for other in old), sum(score == other for other in old)
            wins, ties, pairs = wins + won, ties + tied, pairs + len(old)
            outcomes.append((won + tied / 2) / len(old))
            prompts.append(index)
    estimate = win_rate(outcomes, prompts)
    return WinRate(estimate, wins / pairs, ties / pairs, (pairs - wins - ties) / pairs, judge, JUDGES[judge])
