"""The words every task is told in: samples to answer, and a scorer that judges a response to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from trimtab.types import Prompt

Target = TypeVar("Target")


@dataclass(frozen=True, slots=True)
class Sample(Generic[Target]):
    """A prompt, and what a good response to it is known to need."""

    id: str
    prompt: Prompt
    target: Target


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement of one response: `value` from 0 to 1, each check's outcome, and why in plain words."""

    value: float
    checks: Mapping[str, bool]
    explanation: str

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(self.checks.values())


@dataclass(frozen=True, slots=True)
class Task(Generic[Target]):
    """Samples, and the function that scores a response to one of them."""

    name: str
    samples: tuple[Sample[Target], ...]
    scorer: Callable[[Sample[Target], str], Score]
