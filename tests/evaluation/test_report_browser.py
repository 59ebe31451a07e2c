from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.evaluation.world import content, evaluation

from trimtab.evaluation.report.render import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium on the PATH"),
]

# The page is shown in a frame of the given width; a script in the outer page measures it.
FRAME = """<!doctype html><iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const seen = [...page.querySelectorAll("svg")].filter(one => one.getBoundingClientRect().width > 0).length;
  document.title = page.documentElement.scrollWidth + " " + seen + " " + page.querySelectorAll("h2").length;
}}</script>"""


def run(arguments: list[str], folder: Path) -> str:
    assert CHROMIUM is not None
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
    switches += [f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"]
    done = subprocess.run([CHROMIUM, *switches, *arguments], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.parametrize("width", [420, 1200])
def test_the_page_fits_its_window(tmp_path: Path, width: int) -> None:
    write_report(content(tmp_path / "run", evaluation()), tmp_path / "report.html")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    page = run(["--dump-dom", "--virtual-time-budget=5000", (tmp_path / "frame.html").as_uri()], tmp_path)
    title = re.search(r"<title>(\d+) (\d+) (\d+)</title>", page)
    assert title is not None
    scroll_width, drawings, headings = map(int, title.groups())
    assert scroll_width <= width
    assert drawings > 10
    assert headings >= 6


def test_the_page_can_be_printed(tmp_path: Path) -> None:
    write_report(content(tmp_path / "run", evaluation()), tmp_path / "report.html")
    run([f"--print-to-pdf={tmp_path / 'report.pdf'}", (tmp_path / "report.html").as_uri()], tmp_path)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
