"""Real stages through the real command line, on a tiny random model."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.world import CommandLine, write_tiny_recipe, write_whole_recipe

TRIMTAB = [sys.executable, "-m", "trimtab"]
TRAINED = ("sft", "reward_model", "policy")


def artifact(store: Path, stage: str = "sft") -> Path:
    (folder,) = (path for path in store.glob(f"{stage}-*") if path.suffix == "")
    return folder


def log_of(folder: Path) -> list[dict[str, float]]:
    """The log without the times, which differ."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in lines]


def test_fine_tuning_makes_a_model(trimtab: CommandLine, tmp_path: Path) -> None:
    recipe = write_tiny_recipe(tmp_path)
    ended = trimtab("run", recipe)
    assert ended.code == 0, ended.err
    folder = artifact(tmp_path / "runs" / "tiny")
    assert {"model.safetensors", "config.json", "tokenizer.json", "artifact.json"} <= {p.name for p in folder.iterdir()}
    losses = [line["sft/loss"] for line in log_of(folder)]
    assert len(losses) == 9  # 12 demonstrations, 4 a step, 3 epochs
    assert losses[-1] < losses[0]
    assert (folder / "model.safetensors").read_bytes() != (tmp_path / "model" / "model.safetensors").read_bytes()


def test_a_recipe_of_every_kind_of_stage_ends_in_a_report(trimtab: CommandLine, tmp_path: Path) -> None:
    ended = trimtab("run", write_whole_recipe(tmp_path).name)
    assert ended.code == 0, ended.err
    store = tmp_path / "runs" / "whole"
    assert [line["step"] for line in log_of(artifact(store, "policy"))] == [1, 2, 3, 4, 5, 6]
    assert (artifact(store, "policy") / "model.safetensors").is_file()
    evaluation = json.loads((artifact(store, "evaluation") / "evaluation.json").read_text())
    assert evaluation["models"] == ["base", "sft", "preferring", "grouped", "checked", "policy"]
    assert evaluation["groups"] == {"all": 6}
    assert evaluation["reward_model"]["comparisons"] == 4
    check_preferring(artifact(store, "preferring"))
    check_grouped(artifact(store, "grouped"), artifact(store, "checked"))
    page = (artifact(store, "report") / "report.html").read_text()
    assert "Twelve expenses" in page
    assert str(tmp_path) not in page  # a report can be given away
    answered = trimtab("chat", "runs/whole/policy", "--message", "question 21", "--json")
    assert json.loads(answered.out)["message"] == "question 21"


def check_preferring(folder: Path) -> None:
    """DPO: twelve comparisons, four prompts a step, from log 2 downwards; a plain model."""
    lines = log_of(folder)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[0]["dpo/loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert lines[-1]["dpo/loss"] < lines[0]["dpo/loss"]
    assert json.loads((folder / "artifact.json").read_text())["summary"] == {"comparisons": 12, "prompts": 12}
    assert (folder / "model.safetensors").is_file()


def check_grouped(by_reward_model: Path, by_checks: Path) -> None:
    """GRPO: scores of the reward model, under KL; and shares of two checks passed, without."""
    for folder in (by_reward_model, by_checks):
        assert [line["step"] for line in log_of(folder)] == [1, 2]
        assert (folder / "model.safetensors").is_file()
        assert json.loads((folder / "artifact.json").read_text())["summary"] == {"prompts": 12, "responses": 12}
    assert all("kl/ref" in line and "kl/loss" in line for line in log_of(by_reward_model))
    for line in log_of(by_checks):
        assert "kl/ref" not in line
        assert 0 <= line["score/mean"] <= 1
        assert line["score/mean"] * 12 == pytest.approx(round(line["score/mean"] * 12), abs=1e-4)  # halves of 6
    assert any(line["score/std"] > 0 for line in log_of(by_checks))


@pytest.mark.slow
def test_a_second_run_in_a_new_process_does_nothing(tmp_path: Path) -> None:
    recipe = write_tiny_recipe(tmp_path)
    for ran in (True, False):
        ended = subprocess.run([*TRIMTAB, "run", recipe, "--json"], cwd=tmp_path, capture_output=True, check=True)
        (stage,) = json.loads(ended.stdout)["stages"]
        assert stage["ran"] is ran


@pytest.mark.slow
def test_killed_again_and_again_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    """`kill -9` at random moments of three kinds of training, at least ten of them after a step was logged."""
    recipe = write_whole_recipe(tmp_path)
    command = [*TRIMTAB, "run", str(recipe), "sft.num_epochs=20", "reward_model.num_epochs=10", "policy.num_steps=40"]
    command += ["--until", "policy"]
    subprocess.run([*command, "--store", "straight"], cwd=tmp_path, capture_output=True, check=True)

    moments, kills, code = random.Random(5), 0, -9
    for _ in range(60):
        process = subprocess.Popen([*command, "--store", "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        known = steps_logged(tmp_path / "killed")
        while process.poll() is None and steps_logged(tmp_path / "killed") == known:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        code = process.wait()
        if code == 0:
            break
        kills += steps_logged(tmp_path / "killed") != known
    assert code == 0
    assert kills >= 10
    for stage in TRAINED:
        straight, killed = artifact(tmp_path / "straight", stage), artifact(tmp_path / "killed", stage)
        for weights in straight.glob("*.safetensors"):
            assert (killed / weights.name).read_bytes() == weights.read_bytes(), stage
        assert log_of(killed) == log_of(straight)


def steps_logged(store: Path) -> dict[str, int]:
    """Lines in the log of every stage that is under way or done."""
    found = {}
    for log in store.glob("*/metrics.jsonl"):
        try:
            found[log.parent.name.removesuffix(".state")] = log.read_bytes().count(b"\n")
        except FileNotFoundError:  # the stage is finished at this moment
            continue
    return found
