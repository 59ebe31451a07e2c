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
    assert [headline.label for headline in report.stages[1].headlines] == [
        "Right on comparisons it never saw",
        "Where everybody agreed",
        "Where most agreed",
        "Where one person was asked",
    ]
    assert len(report.stages[0].headlines) == len(report.stages[2].headlines) == 2
    assert report.model_notes == ("as it came", "after learning from examples", "after practising against the judge")


OPTIONS = {"title": "t", "recipe": "r", "date": "d", "machine": {}, "command": "", "repeat": {}}


def told(*folders: Path) -> Report:
    return report_content(folders, **OPTIONS)  # type: ignore[arg-type]


def evaluated(folder: Path, kind: str) -> Path:
    """An evaluation of a model from outside and of `policy`, with one difference."""
    one = {"value": 0.25, "low": 0.1, "high": 0.4, "n": 40, "method": "x"}
    row = {"metric": "score", "title": "Score", "unit": "score", "group": "all", "sampled": True}
    path = write_stage(folder, "evaluation", "evaluation", {}, seconds=1.0)
    found = {
        "models": ["base", "policy"],
        "kinds": {"base": "", "policy": kind},
        "metrics": [row | {"by_model": {"base": one, "policy": one}}],
        "differences": [row | {"before": "base", "after": "policy", "estimate": one}],
    }
    (path / "evaluation.json").write_text(json.dumps(found))
    return path


def test_dpo_is_told(tmp_path: Path) -> None:
    steps = [
        {"step": n, "dpo/accuracy": 0.5 + 0.1 * n, "dpo/margin": 0.2 * n, "dpo/loss": 0.69, "optim/grad_norm": 1.0}
        for n in range(4)
    ]
    judge = write_stage(tmp_path, "reward", "reward_model", {"data": "pairs.jsonl"}, seconds=1.0)
    config = {"data": "pairs.jsonl", "beta": 0.1, "max_steps": None}
    policy = write_stage(
        tmp_path, "policy", "dpo", config, seconds=1.0, summary={"comparisons": 30, "prompts": 20}, metrics=steps
    )
    found = told(judge, policy, evaluated(tmp_path, "dpo"))
    stage = found.stages[1]
    assert stage.title == "Learning from comparisons"
    assert found.model_notes == ("as it came", "after learning from comparisons")
    assert stage.here == (
        "It learnt from 30 comparisons in 4 steps. Towards the end the preferred answer had gained more than the other "
        "one in 80 % of the choices it was learning from. What counts is what it writes by itself, below."
    )
    assert [(figure.title, figure.for_engineers) for figure in stage.figures] == [
        ("Choices it has moved towards", False),
        ("Lead of preferred answers", False),
        ("Misfit to the choices (loss)", True),
        ("Gradient norm", True),
    ]
    assert [(fact.name, fact.value) for fact in stage.settings] == [
        ("data", "pairs.jsonl"),
        ("price of drift (beta)", "0.1"),
    ]
    assert [headline.label for headline in stage.headlines] == ["Score: policy minus base"]
    (limit,) = found.limits
    assert limit.startswith("policy and the reward model learnt from the same comparisons.")
    Page(render(found))


def test_dpo_on_other_comparisons_than_the_judges_is_no_limit(tmp_path: Path) -> None:
    judge = write_stage(tmp_path, "reward", "reward_model", {"data": "other.jsonl"}, seconds=1.0)
    policy = write_stage(tmp_path, "policy", "dpo", {"data": "pairs.jsonl", "max_steps": 2}, seconds=1.0)
    assert told(judge, policy, evaluated(tmp_path, "dpo")).limits == ()


def grpo(folder: Path, reward_model: str | None) -> Path:
    steps = [
        {
            "step": n,
            "score/mean": 0.5 + 0.1 * n,
            "score/std": 0.25,
            "response/length": 40.0 - n,
            "group/zero_variance_fraction": 0.5,
        }
        for n in range(4)
    ]
    return write_stage(
        folder,
        "policy",
        "grpo",
        {"data": "prompts.jsonl", "reward_model": reward_model, "kl_coef": 0.0},
        seconds=1.0,
        summary={"prompts": 20, "responses": 128},
        metrics=steps,
    )


def test_grpo_scored_by_checks_is_told_without_a_judge(tmp_path: Path) -> None:
    found = told(grpo(tmp_path, None), evaluated(tmp_path, "grpo"))
    (stage,) = found.stages
    assert stage.title == "Practising in groups"
    assert found.model_notes == ("as it came", "after practising in groups")
    # Of four steps the first and the last count; without a reference there is no drift to tell.
    assert stage.here == (
        "In 4 steps it wrote 128 answers, on a pool of 20 prompts. The mean share of checks that an answer passed went "
        "from 0.50 to 0.80, length from 40.0 to 37.0 tokens."
    )
    score, length, groups = stage.figures
    assert (score.title, groups.title) == ("Checks passed in practice", "Groups of equal scores")
    assert score.series[0].high == pytest.approx((0.75, 0.85, 0.95, 1.05))
    assert not any("judge" in figure.caption for figure in (score, length))
    assert ("judge", "the checks that come with the requests") in [(f.name, f.value) for f in stage.settings]
    (limit,) = found.limits
    assert limit.startswith("policy practised passing checks like those it is measured by, on other requests.")
    Page(render(found))


def test_grpo_scored_by_a_reward_model_is_told_with_its_judge(tmp_path: Path) -> None:
    found = told(grpo(tmp_path, "reward"), evaluated(tmp_path, "grpo"))
    (stage,) = found.stages
    assert "The judge's mean score went from 0.50 to 0.80, length" in stage.here
    assert stage.figures[0].title == "Score by the reward model"
    assert ("judge", "reward") in [(fact.name, fact.value) for fact in stage.settings]
    assert found.limits == ()


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
    found = told(*folders)
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


def test_a_reward_model_on_a_frozen_model_is_told(tmp_path: Path) -> None:
    config = {"data": "pairs.jsonl", "frozen": True, "l2": 1e-4, "learning_rate": 1e-4, "num_epochs": 1}
    step = {"step": 1, "reward_model/accuracy": 0.9, "reward_model/loss": 0.3}
    judge = write_stage(
        tmp_path, "reward", "reward_model", config, seconds=1.0, summary={"comparisons": 30}, metrics=[step]
    )
    (stage,) = told(judge, evaluated(tmp_path, "dpo")).stages[:1]
    assert stage.here.startswith("It had 30 comparisons to learn from. The model stays as it is;")
    assert "90 % of the choices it was learning from" in stage.here
    assert [fact.name for fact in stage.settings] == ["data"]
    assert stage.figures == ()  # one number makes no curve
