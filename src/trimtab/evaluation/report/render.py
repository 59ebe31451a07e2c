"""A report's content as one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from trimtab.evaluation import format as text
from trimtab.evaluation.report.bars import headline_bar, interval_bar, metric_bars, span_of
from trimtab.evaluation.report.chart import line_chart
from trimtab.evaluation.report.content import Difference, Report
from trimtab.evaluation.report.narrative import duration_text


def render(report: Report) -> str:
    """The report as HTML. Every text is escaped; only our own drawings and style sheet go in as they are."""
    templates = files("trimtab.evaluation.report") / "templates"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((templates / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        style=Markup((templates / "style.css").read_text(encoding="utf-8")),
        line_chart=lambda *given: Markup(line_chart(*given)),
        metric_bars=lambda *given: Markup(metric_bars(*given)),
        headline_bar=lambda *given: Markup(headline_bar(*given)),
        interval_bar=lambda *given: Markup(interval_bar(*given)),
        change_bar=partial(_change_bar, report),
        value_text=text.value_text,
        change_text=text.change_text,
        interval_text=text.interval_text,
        estimate_text=text.estimate_text,
        change_estimate_text=text.change_estimate_text,
        duration_text=duration_text,
    )


def write_report(report: Report, path: Path) -> None:
    """Write the report's HTML file."""
    path.write_text(render(report), encoding="utf-8")


def _change_bar(report: Report, row: Difference, identifier: str) -> Markup:
    """The interval of a difference, on a scale shared by all differences of the same unit and measure."""
    alike = [one.estimate for one in report.differences if (one.unit, one.title) == (row.unit, row.title)]
    if row.unit == "share":
        alike = [one.estimate for one in report.differences if one.unit == "share"]
    span = span_of(alike, row.unit, 0.0, change=True)
    return Markup(interval_bar(row.estimate, row.unit, span, identifier, 0.0, change=True))
