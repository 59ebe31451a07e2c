from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.test_report_browser import CHROMIUM, run

from trimtab.evaluation.report.chains import render_chains, write_chains_page

REQUESTS = {"kind": "What is unkind?", "safe": "What is <b>unsafe</b>?"}


def text(words: str) -> dict[str, str]:
    return {"text": words, "finish_reason": "stop"}


def chain(name: str, *rounds: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": [{"role": "user", "content": f"<script>request {name}</script>"}],
        "draft": text("a draft"),
        "draft_score": -0.5,
        "rounds": [
            {
                "principle": principle,
                "critique": text("a critique"),
                "revision": text(f"revision by {principle}"),
                "score": 1.25,
                "kept": not dropped,
                "dropped": dropped,
            }
            for principle, dropped in rounds
        ],
    }


ROWS = [
    chain("one", ("kind", ""), ("safe", "off topic")),
    chain("two", ("safe", "")),
    chain("three", ("kind", "empty")),
]


def page() -> str:
    return render_chains(ROWS, REQUESTS, title="Ours", stage="revisions", constitution="abc")


def test_every_text_is_shown_and_inert() -> None:
    found = page()
    assert "<script" not in found
    assert "&lt;script&gt;request one&lt;/script&gt;" in found
    assert "What is &lt;b&gt;unsafe&lt;/b&gt;?" in found
    assert "✗ dropped: off topic" in found
    assert "3 requests, each answered, criticised by a principle drawn for it and revised. Of 4 revisions 2" in found
    assert found.count("score −0.50") == 3
    assert "kind (2)" in found
    assert "safe (2)" in found


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium on the PATH")
def test_the_filter_hides_the_others(tmp_path: Path) -> None:
    write_chains_page(ROWS, REQUESTS, tmp_path / "page.html", title="Ours", stage="revisions", constitution="abc")
    frame = """<!doctype html><iframe src="page.html" style="width:900px;height:900px"></iframe><script>onload = () => {
      const page = document.querySelector("iframe").contentDocument;
      const seen = () => [...page.querySelectorAll(".chain")].filter(one => one.offsetHeight > 0)
        .map(one => one.querySelector(".why").textContent).join(",");
      const found = [seen()];
      for (const names of [["kept"], ["dropped"], ["any-outcome", "principle-2"], ["dropped", "principle-2"]]) {
        for (const name of names) page.getElementById(name).click();
        found.push(seen());
      }
      document.title = found.join(";");
    }</script>"""
    (tmp_path / "frame.html").write_text(frame)
    dom = run(["--dump-dom", "--virtual-time-budget=5000", (tmp_path / "frame.html").as_uri()], tmp_path)
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    assert title.group(1).split(";") == ["one,two,three", "one,two", "one,three", "one,two", "one"]
