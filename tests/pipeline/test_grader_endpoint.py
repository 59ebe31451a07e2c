"""A grader behind a server, and a stage that is asked to stop between two calls."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from tests.generation.fake_endpoint import Behaviour, FakeServer, body_of, says, serving, tokens, well, without_proxies
from tests.training.world import tiny_policy

from trimtab.config import load_recipe
from trimtab.config.load import Recipe
from trimtab.errors import DataError, Interrupted
from trimtab.pipeline import judges
from trimtab.pipeline.runner import run

RECIPE = """\
seed: 5
stages:
  %s
runtime: {threads: 1, precision: fp32}
"""
POLICY = """policy: {kind: grpo, model: model, data: prompts.jsonl, num_steps: 2, prompts_per_step: 2, group_size: 3,
           max_new_tokens: 6, rubric: rubric.md, endpoint: {base_url: "%s", model: big, api_key_env: null}}"""
LABELS = """labels: {kind: judge, model: model, data: prompts.jsonl, max_new_tokens: 6, temperature: 1.5,
           endpoint: {base_url: "%s", model: big, api_key_env: null, concurrency: 1}}"""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    without_proxies(monkeypatch)


def recipe(folder: Path, stage: str, server: FakeServer) -> Recipe:
    tiny_policy(longest=2048).save(folder / "model")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(8)))
    (folder / "rubric.md").write_text("Short answers are good.")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE % (stage % server.url))
    return load_recipe(path)


def by_length(body: dict[str, Any], earlier: int) -> Behaviour:
    """Grades of 1 to 5 by the number of letters in the answer, with certainty but for one in a hundred."""
    answer = re.split(r"The answer:\n.*\n", body["messages"][-1]["content"])[1].split("\n")[0]
    grade = str(1 + len(answer) % 5)
    return says(
        body_of(grade, logprobs=tokens({grade: math.log(0.96)} | {d: math.log(0.01) for d in "12345" if d != grade}))
    )


def test_a_grader_behind_a_server_is_a_reward(tmp_path: Path) -> None:
    with serving(by_length) as server:
        run(recipe(tmp_path, POLICY, server), tmp_path / "store")
        assert 0 < len(server.bodies) <= 12  # two steps of six answers; equal ones are paid once
        assert all("Short answers are good." in body["messages"][-1]["content"] for body in server.bodies)
    (folder,) = (path.parent for path in tmp_path.glob("store/policy-*/artifact.json"))
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(log) == 2
    assert all(1 < line["score/mean"] < 5 and line["score/std"] > 0 for line in log)
    calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == len(server.bodies)


def test_a_rubric_that_cannot_be_read_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with serving(well) as server:  # type: ignore[arg-type]  # never asked
        wanted = recipe(tmp_path, POLICY, server)
        (tmp_path / "rubric.md").write_bytes(b"\xff\xfe")
        with pytest.raises(DataError, match=r"rubric\.md cannot be read: it is not UTF-8"):
            run(wanted, tmp_path / "store")
        assert not server.bodies


def test_a_stage_that_is_asked_to_stop_pays_for_no_further_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops between two calls, not after a block of pairs, and goes on with what was paid for."""
    with serving(lambda body, earlier: well) as server:
        wanted = recipe(tmp_path, LABELS, server)
        stop = judges._until_asked

        def stop_after_three(context: Any) -> Any:
            heard = stop(context)
            context.stop = lambda: len(server.bodies) >= 3
            return heard

        monkeypatch.setattr(judges, "_until_asked", stop_after_three)
        with pytest.raises(Interrupted):
            run(wanted, tmp_path / "store")
        paid = len(server.bodies)
        assert 3 <= paid <= 4  # one may have been under way
        monkeypatch.setattr(judges, "_until_asked", stop)
        run(wanted, tmp_path / "store")
        assert len(server.bodies) == len(server.seen) > paid  # nothing was asked twice
