import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import CommandLine
from tests.evaluation.world import evaluation
from tests.pipeline.world import Kitchen

from trimtab.pipeline import runner


@pytest.fixture
def trimtab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capfd)


@pytest.fixture
def kitchen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kitchen:
    """A recipe whose stages cost nothing; `trimtab run` runs them."""
    kitchen = Kitchen(tmp_path)
    kitchen.store = tmp_path / "runs" / "desk"

    def evaluate(context: Any) -> None:
        (context.folder / "evaluation.json").write_text(json.dumps(evaluation(4, 2)))

    kitchen.does("evaluation", evaluate)
    kitchen.does("report", lambda context: (context.folder / "report.html").write_text("<p>"))
    kitchen.does("ppo", lambda context: context.progress("ppo", 1, 4, score=0.5))
    monkeypatch.setattr(runner, "_stage_functions", lambda: kitchen.functions)
    return kitchen
