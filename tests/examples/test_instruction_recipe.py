"""`recipes/instruction.yaml` through the real command line, with a tiny random base in the place of Gemma."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.world import CommandLine
from tests.models.test_new_template import save_base
from transformers import AutoTokenizer

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "instruction.yaml"


@pytest.fixture
def trimtab(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capfd)


def test_the_recipe_takes_another_model_and_other_data(trimtab: CommandLine, tmp_path: Path) -> None:
    save_base(tmp_path / "model", "gemma3", True, "<start_of_turn>", "<end_of_turn>")
    rows = [{"instruction": f"question {n}", "context": "", "response": f"answer {n}"} for n in range(8)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held_out = (ROOT / "examples" / "instructions" / "heldout.jsonl").read_text().splitlines()[:4]
    (tmp_path / "heldout.jsonl").write_text("\n".join(held_out))
    ended = trimtab(
        "run",
        RECIPE,
        "--store",
        "store",
        f"sft.model={tmp_path / 'model'}",
        f"sft.data={tmp_path / 'mine.jsonl'}",
        "sft.columns={prompt: instruction, completion: response}",
        "sft.max_steps=2",
        f"evaluation.base={tmp_path / 'model'}",
        f"evaluation.prompts={tmp_path / 'heldout.jsonl'}",
        "evaluation.max_new_tokens=4",
        "runtime.threads=1",
        "runtime.precision=fp32",
    )
    assert ended.code == 0, ended.err
    folders = {path.name.partition("-")[0]: path for path in (tmp_path / "store").iterdir() if path.suffix == ""}
    assert "<start_of_turn>" in AutoTokenizer.from_pretrained(folders["sft"]).chat_template
    found = json.loads((folders["evaluation"] / "evaluation.json").read_text())
    assert found["models"] == ["base", "base as chat", "sft"]
    assert {row["metric"] for row in found["metrics"]} >= {"answered", "stopped", "pass"}
    shown = found["examples"]["items"][0]
    assert shown["prompt"] == [{"role": "user", "content": "What is the capital of France?"}]
    answers = [json.loads(line) for line in (folders["evaluation"] / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 3 * 4
    plain, as_chat = ([a["greedy"]["text"] for a in answers if a["model"] == name] for name in found["models"][:2])
    assert plain != as_chat  # the same weights, asked another way
    page = (folders["report"] / "report.html").read_text()
    assert "What is the capital of France?" in page
    assert "as it came, asked with the chat template" in page
