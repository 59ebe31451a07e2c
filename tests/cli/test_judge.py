from __future__ import annotations

import json
from pathlib import Path

from tests.cli.world import CommandLine, write_whole_recipe
from tests.feedback.world import write_constitution


def test_a_judge_is_measured(trimtab: CommandLine, tmp_path: Path) -> None:
    write_whole_recipe(tmp_path)
    data = tmp_path / "comparisons.heldout.jsonl"
    shown = trimtab("judge", data, "--judge", tmp_path / "model", "--limit", 3, "--no-injections", "--least-mass", 0)
    assert shown.code == 0, shown.err
    assert "right, of what it decided" in shown.out
    assert "prefers whatever stands in front" in shown.out
    found = json.loads(
        trimtab(
            "judge", data, "--judge", tmp_path / "model", "--constitution", write_constitution(tmp_path), "--json",
            "--no-injections", "--no-fence", "--least-mass", "0",
        ).out
    )  # fmt: skip
    assert found["comparisons"] == 4
    assert found["injections"] == {}


def test_a_reward_model_is_a_judge_and_faces_attacks(trimtab: CommandLine, tmp_path: Path) -> None:
    recipe = write_whole_recipe(tmp_path)
    data = tmp_path / "comparisons.heldout.jsonl"
    assert trimtab("run", recipe, "--until", "reward_model", "--store", tmp_path / "store").code == 0
    stage = tmp_path / "store" / "reward_model"
    found = json.loads(trimtab("judge", data, "--judge", stage, "--json").out)
    assert found["front"] is None
    refused = trimtab("judge", data, "--judge", stage, "--constitution", write_constitution(tmp_path))
    assert "reads no instructions" in refused.err
