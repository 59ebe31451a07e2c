"""Curves over the steps of a stage, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from trimtab.evaluation.report.content import Figure, Series
from trimtab.evaluation.report.scale import Scale, scale, tick_text
from trimtab.evaluation.report.svg import svg

_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_SMOOTH_ABOVE = 24
_MOST_POINTS = 400


def line_chart(figure: Figure, identifier: str) -> str:
    """A figure's curves. Long ones are drawn faint with their running mean on top; empty when no point is finite."""
    points = [value for series in figure.series for value in (*series.y, *series.low, *series.high)]
    finite = [value for value in points if math.isfinite(value)]
    steps = [value for series in figure.series for value in series.x]
    if not finite or not steps:
        return ""
    across = scale(min(steps), max(steps), _LEFT, _WIDTH - _RIGHT, ticks=5, widen=False)
    up = scale(min(finite), max(finite), _HEIGHT - _BOTTOM, _TOP, ticks=4)
    body = [_axes(across, up, figure.x_label)]
    for index, series in enumerate(figure.series):
        body += _curve(series, index, across, up)
    return svg(_WIDTH, _HEIGHT, identifier, figure.title, _describe(figure), body, "chart")


def smoothed(series: Series) -> tuple[float, ...]:
    """The running mean of a curve over about a twelfth of it, centred, over the finite points; y itself when short."""
    if len(series.y) <= _SMOOTH_ABOVE:
        return series.y
    reach = smoothing_window(series) // 2
    means = []
    for index in range(len(series.y)):
        near = [value for value in series.y[max(0, index - reach) : index + reach + 1] if math.isfinite(value)]
        means.append(math.fsum(near) / len(near) if near else math.nan)
    return tuple(means)


def smoothing_window(series: Series) -> int:
    """How many steps the running mean takes in; 1 when the curve is drawn as it is."""
    return 1 if len(series.y) <= _SMOOTH_ABOVE else 2 * (len(series.y) // 24) + 1


def _axes(across: Scale, up: Scale, x_label: str) -> str:
    parts = []
    step = up.ticks[1] - up.ticks[0]
    for tick in up.ticks:
        y = f"{up(tick):.1f}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick_text(tick, step)}</text>')
    step = across.ticks[1] - across.ticks[0] if len(across.ticks) > 1 else 1.0
    for tick in across.ticks:
        anchor = f'x="{across(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle"'
        parts.append(f"<text {anchor}>{tick_text(tick, step)}</text>")
    parts.append(
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return "".join(parts)


def _curve(series: Series, index: int, across: Scale, up: Scale) -> list[str]:
    colour = f"m{(index + 1) % 4}"
    parts = []
    if series.low and series.high:
        parts += [
            f'<path class="band {colour}" d="{_outline(series, keep, across, up)}"/>' for keep in _finite_runs(series)
        ]
    means = smoothed(series)
    if means is not series.y:
        parts.append(f'<path class="line raw {colour}" d="{_path(series.x, series.y, across, up)}"/>')
    parts.append(f'<path class="line {colour}" d="{_path(series.x, means, across, up)}"/>')
    return parts


def _path(x: Sequence[float], y: Sequence[float], across: Scale, up: Scale) -> str:
    """A line through the points; it is lifted where one is not finite. Very long curves are thinned evenly."""
    every = max(1, len(x) // _MOST_POINTS)
    parts, pen = [], "M"
    for step, value in list(zip(x, y, strict=True))[::every]:
        if math.isfinite(value):
            parts.append(f"{pen}{across(step):.1f} {up(value):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)


def _finite_runs(series: Series) -> list[range]:
    """The longest stretches of steps at which the band is finite."""
    runs, start = [], None
    for index, (low, high) in enumerate([*zip(series.low, series.high, strict=True), (math.nan, math.nan)]):
        finite = math.isfinite(low) and math.isfinite(high)
        if finite and start is None:
            start = index
        elif not finite and start is not None:
            runs.append(range(start, index))
            start = None
    return runs


def _outline(series: Series, keep: range, across: Scale, up: Scale) -> str:
    there = [(series.x[index], series.high[index]) for index in keep]
    back = [(series.x[index], series.low[index]) for index in reversed(keep)]
    return "M" + "L".join(f"{across(step):.1f} {up(value):.1f}" for step, value in there + back) + "Z"


def _describe(figure: Figure) -> str:
    """The figure in words, for those who do not see it."""
    parts = []
    for series in figure.series:
        finite = [value for value in smoothed(series) if math.isfinite(value)]
        if finite:
            parts.append(f"{series.name} goes from {finite[0]:.3g} to {finite[-1]:.3g} over {len(series.x)} steps")
    return "; ".join(parts) + "."
