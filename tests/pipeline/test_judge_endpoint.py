"""A stage whose judge is behind a server that fails in every way ends with all labels, or goes on where it stopped."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.generation import fake_endpoint as fake
from tests.generation.fake_endpoint import (
    Behaviour,
    body_of,
    needs_openssl,
    raw,
    says,
    self_signed,
    serving,
    status,
    tokens,
    well,
    without_proxies,
)
from tests.training.world import tiny_policy

from trimtab.config import load_recipe
from trimtab.errors import EndpointError, RecipeError, UserError
from trimtab.generation.chat_server import Answer, ChatServer, Failure
from trimtab.pipeline.artifacts import read_artifact
from trimtab.pipeline.runner import run

KEY = "sk-never-shown-0123456789"
RECIPE = """\
seed: 5
stages:
  labels:
    kind: judge
    model: model
    data: prompts.jsonl
    max_new_tokens: 6
    temperature: 1.5
    endpoint: {base_url: "%s", model: big, api_key_env: JUDGE_KEY, timeout: 0.5, retries: 3, concurrency: 3}
runtime: {threads: 1, precision: fp32}
"""
PASSING: dict[str, tuple[Behaviour, str]] = {
    "time-out": (fake.silent, r"within 0\.5 s"),
    "429": (status(429), "status 429"),
    "500": (status(500, b"<html>oops</html>"), "status 500.*oops"),
    "truncated JSON": (raw(b'{"choices": [{"mess'), 'begins .{"choices'),
    "HTML": (raw(b"<html>a page</html>"), "begins .<html>a page"),
    "empty": (raw(b""), "it is empty"),
    "slow drip": (fake.dripping_body, r"within 0\.5 s"),
    "reset": (fake.reset, "connection broke"),
}
"""Failures that a second try may not meet again, and how the client tells of them."""
WRONG_OPTION = says(body_of("C", logprobs=tokens({"C": -0.1, "D": -2.5})))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.generation.chat_server.FIRST_PAUSE", 0.01)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    without_proxies(monkeypatch)


@pytest.fixture
def felt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why requests failed, as the client saw it."""
    reasons: list[str] = []
    post = ChatServer.post

    def watched(self: ChatServer, body: Mapping[str, Any]) -> Answer | Failure:
        outcome = post(self, body)
        if isinstance(outcome, Failure):
            reasons.append(outcome.reason)
        return outcome

    monkeypatch.setattr(ChatServer, "post", watched)
    return reasons


def write_recipe(folder: Path, url: str) -> Path:
    tiny_policy().save(folder / "model")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(8)))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE % url)
    return path


def labels(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    (record,) = folder.glob("store/labels-*/artifact.json")
    rows = [json.loads(line) for line in (record.parent / "data.jsonl").read_text().splitlines()]
    return rows, dict(read_artifact(record.parent).record.summary)


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_every_failure_that_passes_leaves_all_labels(tmp_path: Path, felt: list[str]) -> None:
    turns = cycle(PASSING)
    met: list[str] = []

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        if earlier:
            return well
        met.append(name := next(turns))
        return PASSING[name][0]

    with serving(script) as server:
        run(load_recipe(write_recipe(tmp_path, server.url)), tmp_path / "store")
        rows, summary = labels(tmp_path)
        assert len(server.bodies) >= 2 * len(server.seen) == 4 * summary["pairs"]
    assert set(met) == set(PASSING)
    served = Counter(PASSING[name][1] for name in met)
    assert served <= Counter({told: sum(bool(re.search(told, reason)) for reason in felt) for told in served})
    assert summary["comparisons"] == len(rows) == summary["pairs"]
    assert summary["left_out"] == {}
    # the fake says A with 3/4 whatever stands there: both orders average to one half
    assert all(row["probability"] == pytest.approx(0.5) for row in rows)
    assert {row["annotators"][0] for row in rows} == {"model:big"}
    assert KEY.encode() not in everything_written(tmp_path)


def test_a_wrong_option_is_counted_and_not_guessed(tmp_path: Path) -> None:
    met: list[str] = []

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        if "question 3" not in fake.asked(body):
            return well
        met.append(fake.asked(body))
        return WRONG_OPTION

    with serving(script) as server:
        run(load_recipe(write_recipe(tmp_path, server.url)), tmp_path / "store")
    rows, summary = labels(tmp_path)
    assert len(set(met)) == len(met) == 2  # one for each order
    assert summary["left_out"] == {"malformed": 1}
    assert len(rows) == summary["pairs"] - 1
    assert not any("question 3" in row["prompt"][0]["content"] for row in rows)


def test_a_failure_that_lasts_is_told_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    broken = True

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        return status(503) if broken and "question 5" in fake.asked(body) else well

    with serving(script) as server:
        recipe = load_recipe(write_recipe(tmp_path, server.url))
        with pytest.raises(EndpointError, match=r"(?s)labels: .*503"):
            run(recipe, tmp_path / "store")
        answered = {key for key in server.seen if "question 5" not in key}
        before = {key: server.seen[key] for key in answered}
        broken = False
        run(recipe, tmp_path / "store")
        assert {key: server.seen[key] for key in answered} == before  # nothing was paid twice
    rows, summary = labels(tmp_path)
    assert len(rows) == summary["pairs"]
    assert KEY.encode() not in everything_written(tmp_path)


@needs_openssl
def test_a_certificate_that_nobody_vouches_for_stops_the_stage_at_once(tmp_path: Path, felt: list[str]) -> None:
    with serving(lambda body, earlier: well, certificate=self_signed(tmp_path)) as server:
        with pytest.raises(EndpointError, match=r"(?s)labels: .*certificate is not trusted.*SSL_CERT_FILE"):
            run(load_recipe(write_recipe(tmp_path, server.url)), tmp_path / "store")
        assert server.bodies == []
    assert len(felt) <= 3  # those under way at once: none was tried again
    assert KEY.encode() not in everything_written(tmp_path)


def test_a_cap_stops_the_stage_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    with serving(lambda body, earlier: well) as server:
        path = write_recipe(tmp_path, server.url)
        with pytest.raises(UserError, match="5 calls"):
            run(load_recipe(path, ["labels.endpoint.max_calls=5"]), tmp_path / "store")
        assert len(server.bodies) == 5
        run(load_recipe(path, ["labels.endpoint.max_calls=500", "labels.endpoint.retries=0"]), tmp_path / "store")
        assert len(server.bodies) == len(server.seen)  # nothing was asked twice
    rows, summary = labels(tmp_path)
    assert len(rows) == summary["pairs"]


def test_a_change_of_settings_pays_for_nothing_twice(tmp_path: Path) -> None:
    with serving(lambda body, earlier: well) as server:
        path, store = write_recipe(tmp_path, server.url), tmp_path / "store"
        with pytest.raises(UserError, match="5 calls were made"):
            run(load_recipe(path, ["labels.endpoint.max_calls=5"]), store)
        with pytest.raises(UserError, match="5 calls were made"):  # a cap counts what was paid under another key
            run(load_recipe(path, ["labels.endpoint.max_calls=5", "labels.disagreement=0.8"]), store)
        assert len(server.bodies) == 5
        run(load_recipe(path, ["labels.disagreement=0.9"]), store)
        run(load_recipe(path), store)
        assert len(server.bodies) == len(server.seen)
    made = list(store.glob("labels-*/calls.jsonl"))
    assert len(made) == 2
    kept = (store / "calls" / "labels.jsonl").read_bytes()
    assert all(one.read_bytes() == kept for one in made)


def test_answers_paid_for_before_hard_answers_were_allowed_are_used(tmp_path: Path) -> None:
    with serving(lambda body, earlier: says(body_of("A"))) as server:
        path = write_recipe(tmp_path, server.url)
        with pytest.raises(EndpointError, match=r"set hard_answers to true .* what was paid is kept and used"):
            run(load_recipe(path), tmp_path / "store")
        assert server.bodies
        run(load_recipe(path, ["labels.endpoint.hard_answers=true"]), tmp_path / "store")
        assert len(server.bodies) == len(server.seen)
    rows, summary = labels(tmp_path)
    assert len(rows) == summary["pairs"]


def test_somebody_has_to_judge(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "http://localhost:1/v1")
    with pytest.raises(RecipeError, match="say who judges: judge, or endpoint"):
        load_recipe(path, ["labels.judge=model"])
