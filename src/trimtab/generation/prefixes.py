"""Which prompts begin alike, so that their common beginning (instructions, worked examples) is read only once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

LEAST_SHARED = 32
"""Tokens below which reading a beginning by itself costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Run:
    """Prompts (their places) whose first `shared` tokens are the same; 0 where they are simply read one by one."""

    prompts: tuple[int, ...]
    shared: int = 0


def runs(prompts: Sequence[Sequence[int]]) -> list[Run]:
    """The prompts, each in one run. Those of a run share at least half of the tokens of the longest.

    Runs come in the order of their first prompts, and what shares nothing is one run where it stands together. At least
    one token of each prompt is not shared: the response is predicted from it.
    """
    order = sorted(range(len(prompts)), key=lambda place: tuple(prompts[place]))
    found: list[Run] = []
    start = 0
    while start < len(order):
        first = prompts[order[start]]
        longest, shared, stop = len(first), len(first) - 1, start + 1
        while stop < len(order):
            other = prompts[order[stop]]
            common = min(_common(first, other), shared)  # a prompt sorts before what goes on from it
            if common < max(LEAST_SHARED, max(longest, len(other)) / 2):
                break
            longest, shared, stop = max(longest, len(other)), common, stop + 1
        alone = stop == start + 1
        found.append(Run(tuple(sorted(order[start:stop])), 0 if alone else shared))
        start = stop
    return _joined(sorted(found, key=lambda run: run.prompts[0]))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prompts share from their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _joined(found: Sequence[Run]) -> list[Run]:
    """Neighbours that share nothing as one run, so that they can be read together."""
    joined: list[Run] = []
    for run in found:
        if joined and not run.shared and not joined[-1].shared:
            joined[-1] = Run(joined[-1].prompts + run.prompts)
        else:
            joined.append(run)
    return joined
