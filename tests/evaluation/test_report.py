from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.evaluation.world import content, evaluation, write_run, write_stage

from trimtab.errors import DataError
from trimtab.evaluation.format import change_text, interval_text, value_text
from trimtab.evaluation.report.build import report_content
from trimtab.evaluation.report.chart import line_chart, smoothed
from trimtab.evaluation.report.content import Answer, Figure, Report, Series
from trimtab.evaluation.report.narrative import duration_text
from trimtab.evaluation.report.records import read_stage
from trimtab.evaluation.report.render import render, write_report

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}</pre>"


class Page(HTMLParser):
    """Checks that tags nest, and collects tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    found: Report = content(tmp_path_factory.mktemp("run"), evaluation())
    return found


def test_the_page_is_whole_and_loads_nothing(report: Report) -> None:
    html = render(report)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    assert not {"script", "link", "iframe", "object", "embed", "img"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in html
    assert "@import" not in html


def test_identifiers_are_unique_and_references_exist(report: Report) -> None:
    page = Page(render(report))
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.tags:
        names = (attributes.get("aria-labelledby") or "").split()
        names += [attributes["href"][1:]] if (attributes.get("href") or "").startswith("#") else []
        assert set(names) <= set(identifiers)


def test_drawings_and_tables_can_be_read_without_seeing_them(report: Report) -> None:
    page = Page(render(report))
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) > 10
    assert all(drawing["role"] == "img" and drawing["aria-labelledby"] for drawing in drawings)
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert sum(tag == "table" for tag, _ in page.tags) == sum(tag == "caption" for tag, _ in page.tags)


def test_every_number_is_on_the_page(report: Report) -> None:
    words = Page(render(report)).words
    for row in report.metrics:
        for one in row.by_model:
            assert one is not None
            assert f"{value_text(one.value, row.unit)} {interval_text(one, row.unit)}, n = {one.n}" in words
    for row in report.differences:
        interval = interval_text(row.estimate, row.unit, change=True)
        assert f"{change_text(row.estimate.value, row.unit)} {interval}, n = {row.estimate.n}" in words
    for verdict in report.verdicts:
        assert verdict.finding in words
    assert report.win_rate is not None
    assert value_text(report.win_rate.estimate.value, "share") in words
    for fact in (*report.machine, *report.repeat):
        assert fact.value in words


def test_it_says_what_was_done_what_was_not_and_how_to_repeat_it(report: Report) -> None:
    words = Page(render(report)).words
    assert "It read 350 examples (14,210 tokens of answers" in words
    assert "It learnt from 320 comparisons in 20 steps." in words
    assert "In 60 steps it wrote 3,840 answers, on a pool of 400 prompts." in words
    assert "What was not tested" in words
    assert all(text in words for text in report.not_tested)
    assert "trimtab run recipes/demo.yaml" in words
    assert "even a perfect judge would agree with a single annotator only" in words
    assert "not an independent judge" in words
    assert "four invented clerks" in words


def test_every_stage_of_training_is_told_with_its_curves(report: Report) -> None:
    assert [stage.kind for stage in report.stages] == ["sft", "reward_model", "ppo"]
    shown = {figure.title for figure in report.stages[2].figures if not figure.for_engineers}
    assert shown == {"Score by the reward model", "Drift (KL)", "Length of answers", "Variety (entropy)"}
    assert [headline.label for headline in report.stages[1].headlines] == ["Right on comparisons it never saw"]
    assert len(report.stages[0].headlines) == len(report.stages[2].headlines) == 2
    assert report.model_notes == ("as it came", "after learning from examples", "after practising against the judge")


def test_a_models_output_cannot_become_markup(report: Report) -> None:
    example = report.examples[0]
    hostile = replace(
        report,
        title=HOSTILE,
        command=HOSTILE,
        limits=(HOSTILE,),
        stages=tuple(replace(stage, name=HOSTILE, here=HOSTILE, all_settings=HOSTILE) for stage in report.stages),
        models=(HOSTILE, "sft", "policy"),
        examples=(
            replace(example, prompt=HOSTILE, id=HOSTILE, answers=(Answer(HOSTILE, HOSTILE, ((HOSTILE, False),)),)),
        ),
    )
    html = render(hostile)
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert "{{ 7 * 7 }}" in page.words
    assert "<script" not in html


def test_an_answer_is_shown_as_it_is(report: Report) -> None:
    answer = replace(report.examples[0].answers[0], text="Line one\n  Line  two\n\n<b>")
    shown = replace(report, examples=(replace(report.examples[0], answers=(answer,)),))
    assert "<pre>Line one\n  Line  two\n\n&lt;b&gt;</pre>" in render(shown)


def test_an_empty_report_is_still_a_page() -> None:
    page = Page(render(Report("Nothing yet", "none", "today", (), "")))
    assert "Nothing yet" in page.words


def test_a_run_that_was_not_evaluated_is_still_told(tmp_path: Path) -> None:
    folders = write_run(tmp_path, evaluation())[:3]
    options = {"title": "t", "recipe": "r", "date": "d", "machine": {}, "command": "", "repeat": {}}
    found = report_content(folders, **options)  # type: ignore[arg-type]
    assert found.metrics == found.verdicts == found.examples == ()
    assert len(found.stages) == 3
    Page(render(found))


def test_the_file_is_written(tmp_path: Path, report: Report) -> None:
    write_report(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(report)


def test_folders_that_are_no_artifacts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*artifact\.json"):
        read_stage(tmp_path)
    (tmp_path / "artifact.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        read_stage(tmp_path)
    (tmp_path / "artifact.json").write_text("[]")
    with pytest.raises(DataError, match="should be a JSON object"):
        read_stage(tmp_path)
    (tmp_path / "artifact.json").write_text(json.dumps({"name": "x", "kind": "sft"}))
    with pytest.raises(DataError, match="lacks config, seconds"):
        read_stage(tmp_path)


def test_a_broken_line_of_a_log_is_named(tmp_path: Path) -> None:
    folder = write_stage(tmp_path, "sft", "sft", {}, seconds=1.0, metrics=[{"step": 1, "sft/loss": 2.0}])
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 2, "sft/l')
    with pytest.raises(DataError, match=r"metrics\.jsonl, line 2 is not JSON"):
        read_stage(folder)


def test_curves_with_gaps_and_flat_curves_are_drawn() -> None:
    gap = Figure("gap", "", (Series("a", (1, 2, 3, 4), (1.0, math.nan, 2.0, 3.0)),))
    path = re.search(r'<path class="line m1" d="([^"]*)"', line_chart(gap, "x"))
    assert path is not None
    assert path.group(1).count("M") == 2
    assert "nan" not in line_chart(gap, "x")
    assert "nan" not in line_chart(Figure("flat", "", (Series("a", (1,), (0.0,)),)), "x")
    assert line_chart(Figure("none", "", (Series("a", (1,), (math.nan,)),)), "x") == ""


def test_only_long_curves_are_smoothed() -> None:
    short = Series("a", tuple(range(24)), tuple(float(index % 2) for index in range(24)))
    long = Series("a", tuple(range(48)), tuple(float(index) for index in range(48)))
    assert smoothed(short) == short.y
    # A straight line's centred mean is itself; at the ends the window is cut: (0 + 1 + 2) / 3.
    assert smoothed(long)[2:-2] == long.y[2:-2]
    assert smoothed(long)[0] == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (75, "75 seconds"), (331, "6 minutes"), (3660, "1 hour 1 minute"), (7200, "2 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
