"""Values with their intervals as bars, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from trimtab.evaluation.format import Unit, change_estimate_text, estimate_text, value_text
from trimtab.evaluation.report.content import Headline, MetricRow
from trimtab.evaluation.report.scale import Scale, scale, tick_text
from trimtab.evaluation.report.svg import svg
from trimtab.evaluation.statistics import Estimate


def metric_bars(row: MetricRow, models: Sequence[str], identifier: str) -> str:
    """One bar a model, from 0 for shares, with its interval as a whisker."""
    found = [(index, name, one) for index, (name, one) in enumerate(zip(models, row.by_model, strict=True)) if one]
    width, gap = 480, 34
    label = min(max(76, 16 + 8 * max(len(name) for _, name, _ in found)), 200)  # letters are about 8 wide
    height = gap * len(found) + 26
    ends = [value for _, _, one in found for value in (one.value, one.low, one.high) if math.isfinite(value)]
    low, high = (0.0, 1.0) if row.unit == "share" else (min(0.0, *ends), max(0.0, *ends))
    across = scale(low, high, label, width - 26, ticks=5)
    body = [_grid(across, 4, height - 22, row.unit)]
    for place, (index, name, one) in enumerate(found):
        middle = 4 + gap * place + gap / 2 - 2
        left, right = sorted((across(max(low, 0.0)), across(one.value)))
        body.append(f'<text class="name" x="{label - 10}" y="{middle + 5:.1f}" text-anchor="end">{escape(name)}</text>')
        body.append(
            f'<rect class="bar m{index % 4}" x="{left:.1f}" y="{middle - 9:.1f}" '
            f'width="{max(right - left, 1.5):.1f}" height="18" rx="3"/>'
        )
        body.append(_whisker(one, across, middle, 6))
    text = "; ".join(f"{name}: {estimate_text(one, row.unit)}, n = {one.n}" for _, name, one in found)
    return svg(width, height, identifier, row.title, text, body, "bars")


def interval_bar(
    estimate: Estimate,
    unit: Unit,
    span: tuple[float, float],
    identifier: str,
    reference: float,
    *,
    change: bool = False,
) -> str:
    """A small bar: the interval as a line, the value as a dot, a reference as a dashed mark."""
    across = scale(*span, 4, 156, ticks=4, widen=False)
    mark = f"{across(reference):.1f}"
    body = [
        '<line class="track" x1="4" x2="156" y1="9" y2="9"/>',
        f'<line class="reference" x1="{mark}" x2="{mark}" y1="1" y2="17"/>',
        _whisker(estimate, across, 9, 4),
        f'<circle class="dot" cx="{across(estimate.value):.1f}" cy="9" r="4"/>',
    ]
    tell = change_estimate_text if change else estimate_text
    return svg(160, 18, identifier, "Interval", f"{tell(estimate, unit)}, 95 % interval in brackets", body, "mini")


def headline_bar(headline: Headline, identifier: str) -> str:
    """A headline's interval: over 0 to 100 % when it is a share, over itself and its reference when it is a change."""
    change = headline.reference == 0.0
    reference = headline.reference if headline.reference is not None else 0.0
    span = span_of([headline.estimate], headline.unit, reference, change=change)
    return interval_bar(headline.estimate, headline.unit, span, identifier, reference, change=change)


def span_of(
    estimates: Iterable[Estimate], unit: Unit, reference: float, *, change: bool = False
) -> tuple[float, float]:
    """The range that bars of these estimates share, so that they can be compared by eye."""
    if unit == "share" and not change:
        return 0.0, 1.0
    ends = [reference]
    ends += [value for one in estimates for value in (one.value, one.low, one.high) if math.isfinite(value)]
    low, high = min(ends), max(ends)
    pad = 0.08 * (high - low) or 1.0
    return low - pad, high + pad


def _whisker(estimate: Estimate, across: Scale, middle: float, reach: float) -> str:
    low = across(max(estimate.low, across.low))
    high = across(min(estimate.high, across.high))
    ends = f"M{low:.1f} {middle - reach:.1f}v{2 * reach}M{high:.1f} {middle - reach:.1f}v{2 * reach}"
    return f'<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}{ends}"/>'


def _grid(across: Scale, top: float, bottom: float, unit: Unit) -> str:
    step = across.ticks[1] - across.ticks[0]
    parts = []
    for tick in across.ticks:
        x = f"{across(tick):.1f}"
        text = value_text(tick, unit) if unit == "share" else tick_text(tick, step)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{text}</text>')
    return "".join(parts)
