"""A recipe: stages by name, the edges between them, and the order to run them in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.config.base import Runtime, StageConfig
from trimtab.config.evaluation import EvaluationStage, TextEvaluationStage
from trimtab.errors import RecipeError

BASE = "base"
"""What evaluations call the model before training."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe that has been checked: every path is absolute, every stage has its seed, stages are in running order."""

    path: Path
    title: str
    seed: int
    stages: Mapping[str, StageConfig]
    runtime: Runtime

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    def edges(self, stage: str) -> dict[str, str]:
        """The stages that a stage refers to, by place: `{"model": "sft", "models.policy": "policy"}`."""
        return edges(self.stages[stage], self.stages)

    def upstream(self, stage: str) -> list[str]:
        """All stages a stage stands on, directly or not, in running order."""
        needed = set(self.edges(stage).values())
        for name in reversed(list(self.stages)):
            if name in needed:
                needed |= set(self.edges(name).values())
        return [name for name in self.stages if name in needed]


def edges(stage: StageConfig, names: Iterable[str]) -> dict[str, str]:
    """What a stage refers to of these names. An item of a list is at `setting.name`."""
    names = set(names)
    return {place: value for place, value in reference_values(stage).items() if value in names}


def reference_values(stage: StageConfig) -> dict[str, str]:
    """Every model or stage that a stage names, by place."""
    found: dict[str, str] = {}
    for field in stage.references:
        value = getattr(stage, field)
        if isinstance(value, list):
            found |= {f"{field}.{item}": item for item in value}
        elif value is not None:
            found[field] = value
    return found


def in_running_order(stages: Mapping[str, StageConfig]) -> dict[str, StageConfig]:
    """The stages such that each comes after those it refers to, else as written. Raises `RecipeError` on a cycle."""
    ordered: dict[str, StageConfig] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " -> ".join((*path[path.index(name) :], name))
            raise RecipeError(f"stages: {cycle} is a cycle: none of them can run first")
        if name not in ordered:
            for needed in edges(stages[name], stages).values():
                visit(needed, (*path, name))
            ordered[name] = stages[name]

    for name in stages:
        visit(name, ())
    return ordered


def check_references(stages: Mapping[str, StageConfig]) -> list[str]:
    """What is wrong with the stages that stages name: absent, or of a kind that cannot serve."""
    problems = []
    for name, stage in stages.items():
        for place, value in reference_values(stage).items():
            field = place.partition(".")[0]
            kinds = stage.references[field]
            where = f"stages.{name}.{field}"
            if value in stages and stages[value].kind not in kinds:
                problems.append(
                    f"{where}: {value} is a stage of kind {stages[value].kind}; here it must be {' or '.join(kinds)}"
                )
            elif value not in stages and field in stage.stage_only:
                problems.append(f"{where}: there is no stage {value!r}{nearest(value, stages)}")
        if isinstance(stage, EvaluationStage | TextEvaluationStage) and BASE in stage.models:
            problems.append(
                f"stages.{name}.models: in an evaluation, {BASE} is the model before training; rename that stage"
            )
    return problems


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at the nearest known word, else at all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known)}"
