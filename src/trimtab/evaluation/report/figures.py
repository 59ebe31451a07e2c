"""Which curves are drawn for each kind of stage."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.evaluation.report.chart import smoothing_window
from trimtab.evaluation.report.content import Figure, Series
from trimtab.evaluation.report.narrative import scored_by_checks
from trimtab.evaluation.report.records import StageRecord
from trimtab.evaluation.report.texts import CAPTIONS, CAPTIONS_BY_CHECKS, FIGURE_TITLES, TITLES_BY_CHECKS

FOR_ALL: Mapping[str, tuple[str, ...]] = {
    "sft": ("sft/loss",),
    "text_tuning": ("sft/loss",),
    "reward_model": ("reward_model/accuracy", "reward_model/grade_error", "reward_model/loss"),
    "dpo": ("dpo/accuracy", "dpo/margin"),
    "ppo": ("score/mean", "kl/ref", "response/length", "policy/entropy"),
    "grpo": ("score/mean", "kl/ref", "response/length", "policy/entropy"),
}
FOR_ENGINEERS: Mapping[str, tuple[str, ...]] = {
    "sft": ("optim/grad_norm", "optim/learning_rate"),
    "text_tuning": ("optim/grad_norm", "optim/learning_rate"),
    "reward_model": ("optim/grad_norm", "optim/learning_rate"),
    "dpo": ("dpo/loss", "dpo/chosen_reward", "dpo/rejected_reward", "optim/grad_norm", "optim/learning_rate"),
    "ppo": (
        "value/explained_variance",
        "policy/clip_fraction",
        "policy/approx_kl",
        "response/eos_fraction",
        "sampler/logprob_gap",
        "kl/coef",
        "optim/grad_norm",
        "optim/learning_rate",
    ),
    "grpo": (
        "group/zero_variance_fraction",
        "policy/clip_fraction",
        "policy/approx_kl",
        "response/eos_fraction",
        "sampler/logprob_gap",
        "kl/loss",
        "optim/grad_norm",
        "optim/learning_rate",
    ),
}
_SPREADS: Mapping[str, str] = {"score/mean": "score/std"}


def figures_of(stage: StageRecord) -> tuple[Figure, ...]:
    """The figures of a stage for which numbers were logged, those for everybody first. One number makes no curve."""
    wanted = [(metric, False) for metric in FOR_ALL.get(stage.kind, ())]
    wanted += [(metric, True) for metric in FOR_ENGINEERS.get(stage.kind, ())]
    return tuple(_figure(stage, metric, engineers) for metric, engineers in wanted if len(stage.curve(metric)[0]) > 1)


def _figure(stage: StageRecord, metric: str, for_engineers: bool) -> Figure:
    steps, values = stage.curve(metric)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    spreads = stage.curve(_SPREADS[metric])[1] if metric in _SPREADS else ()
    if len(spreads) == len(values):
        low = tuple(value - spread for value, spread in zip(values, spreads, strict=True))
        high = tuple(value + spread for value, spread in zip(values, spreads, strict=True))
    series = Series(metric, steps, values, low, high)
    window = smoothing_window(series)
    smooth = f" Thin: each step; thick: mean of {window} steps." if window > 1 else ""
    title, caption = FIGURE_TITLES[metric], CAPTIONS[metric]
    if scored_by_checks(stage):
        title, caption = TITLES_BY_CHECKS.get(metric, title), CAPTIONS_BY_CHECKS.get(metric, caption)
    return Figure(title, caption + smooth, (series,), for_engineers=for_engineers)
