"""What a report says, as plain data. `build.py` assembles it from artifacts, `render.py` turns it into one HTML file.

Anything may fill it in: nothing here knows about models or recipes. Texts are plain text, never HTML.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.evaluation.format import Unit
from trimtab.evaluation.statistics import Estimate
from trimtab.evaluation.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Series:
    """One curve. `low` and `high` shade a band around it. Points that are not finite leave a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """Curves over the steps of a stage, with a caption that says what to look for."""

    title: str
    caption: str
    series: tuple[Series, ...]
    x_label: str = "training step"
    for_engineers: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value, already text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Headline:
    """A number with its interval and what it says. `reference` is a value to compare with, such as chance."""

    label: str
    estimate: Estimate
    unit: Unit
    reference: float | None = None
    reference_label: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the training: `what` explains its kind to anybody, `here` says what happened in this run.

    `page` is a file beside the report on which all that the stage wrote can be read; empty if there is none.
    """

    name: str
    kind: str
    title: str
    what: str
    here: str
    seconds: float
    settings: tuple[Fact, ...] = ()
    all_settings: str = ""
    figures: tuple[Figure, ...] = ()
    headlines: tuple[Headline, ...] = ()
    page: str = ""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One measured quantity of every model, in the report's order of models; None where it was not measured.

    Rows marked `detail` are folded away.
    """

    title: str
    group: str
    unit: Unit
    by_model: tuple[Estimate | None, ...]
    detail: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """A change between two models on the same prompts. Rows marked `detail` are folded away."""

    title: str
    group: str
    unit: Unit
    before: str
    after: str
    estimate: Estimate
    note: str = ""
    detail: bool = False


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often `after` beat `before`, and who judged. The shares are of all comparisons."""

    before: str
    after: str
    estimate: Estimate
    won: float
    tied: float
    lost: float
    note: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model wrote, which checks passed, the reward model's score, and why it is no answer, if it is none."""

    model: str
    text: str
    checks: tuple[tuple[str, bool], ...] = ()
    explanation: str = ""
    score: float | None = None
    stopped: bool = True
    continues: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with every model's answer; `chosen` says why this prompt is shown."""

    id: str
    kind: str
    prompt: str
    chosen: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report. `models` are the columns of metrics and answers; `model_notes` say briefly what each is.

    `counted` is what n counts.
    """

    title: str
    recipe: str
    date: str
    models: tuple[str, ...]
    summary: str
    counted: str = "prompts"
    model_notes: tuple[str, ...] = ()
    headline: MetricRow | None = None
    verdicts: tuple[Verdict, ...] = ()
    stages: tuple[Stage, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
    differences: tuple[Difference, ...] = ()
    win_rate: WinRate | None = None
    examples: tuple[Example, ...] = ()
    examples_rule: str = ""
    limits: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()
    machine: tuple[Fact, ...] = ()
    command: str = ""
    repeat: tuple[Fact, ...] = ()
