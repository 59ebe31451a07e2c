"""Real stages through the real command line, on a tiny random model."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.world import CommandLine, write_tiny_recipe

TRIMTAB = [sys.executable, "-m", "trimtab"]
CUT_SHORT = "sft.num_epochs=100"  # 300 steps


def artifact(store: Path) -> Path:
    (folder,) = (path for path in store.iterdir() if path.name.startswith("sft-"))
    assert folder.suffix == ""
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


@pytest.mark.slow
def test_a_second_run_in_a_new_process_does_nothing(tmp_path: Path) -> None:
    recipe = write_tiny_recipe(tmp_path)
    for ran in (True, False):
        ended = subprocess.run([*TRIMTAB, "run", recipe, "--json"], cwd=tmp_path, capture_output=True, check=True)
        (stage,) = json.loads(ended.stdout)["stages"]
        assert stage["ran"] is ran


@pytest.mark.slow
def test_killed_again_and_again_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    """`kill -9` at random moments, at least five of them inside the training."""
    recipe = write_tiny_recipe(tmp_path)
    command = [*TRIMTAB, "run", str(recipe), CUT_SHORT]
    subprocess.run([*command, "--store", "straight"], cwd=tmp_path, capture_output=True, check=True)

    moments, resumed_at, code = random.Random(5), [], -9
    for _ in range(30):
        process = subprocess.Popen([*command, "--store", "killed"], cwd=tmp_path, stdout=subprocess.DEVNULL)
        known = steps_logged(tmp_path / "killed")
        while process.poll() is None and steps_logged(tmp_path / "killed") == known:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        code = process.wait()
        if code == 0:
            break
        resumed_at.append(steps_logged(tmp_path / "killed"))
    assert code == 0
    assert len(resumed_at) >= 5, resumed_at

    straight, killed = artifact(tmp_path / "straight"), artifact(tmp_path / "killed")
    assert (killed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert log_of(killed) == log_of(straight)
    assert [line["step"] for line in log_of(killed)] == list(range(1, 301))


def steps_logged(store: Path) -> int:
    """Lines in the log of the stage under way."""
    for log in store.glob("sft-*.state/metrics.jsonl"):
        try:
            return log.read_bytes().count(b"\n")
        except FileNotFoundError:  # the stage is finished at this moment
            break
    return 0
