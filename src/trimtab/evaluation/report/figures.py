"""Which curves are drawn for each kind of stage."""

from __future__ import annotations

from collections.abc import Mapping

from trimtab.evaluation.report.chart import smoothing_window
from trimtab.evaluation.report.content import Figure, Series
from trimtab.evaluation.report.records import StageRecord
from trimtab.evaluation.report.texts import CAPTIONS, FIGURE_TITLES

FOR_ALL: Mapping[str, tuple[str, ...]] = {
    "sft": ("sft/loss",),
    "reward_model": ("reward_model/accuracy", "reward_model/loss"),
    "ppo": ("score/mean", "kl/ref", "response/length", "policy/entropy"),
}
FOR_ENGINEERS: Mapping[str, tuple[str, ...]] = {
    "sft": ("optim/grad_norm", "optim/learning_rate"),
    "reward_model": ("optim/grad_norm", "optim/learning_rate"),
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
}
_SPREADS: Mapping[str, str] = {"score/mean": "score/std"}


def figures_of(stage: StageRecord) -> tuple[Figure, ...]:
    """The figures of a stage for which numbers were logged, those for everybody first."""
    wanted = [(metric, False) for metric in FOR_ALL.get(stage.kind, ())]
    wanted += [(metric, True) for metric in FOR_ENGINEERS.get(stage.kind, ())]
    return tuple(_figure(stage, metric, engineers) for metric, engineers in wanted if stage.curve(metric)[0])


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
    return Figure(FIGURE_TITLES[metric], CAPTIONS[metric] + smooth, (series,), for_engineers=for_engineers)
