from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.world import CommandLine, write_whole_recipe
from tests.feedback.world import write_constitution
from tests.generation.fake_endpoint import serving, well


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
    assert found["self_preference"] is None
    first = json.loads(data.read_text().splitlines()[0])
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"prompt": first["prompt"], "completion": first["rejected"]}) + "\n")
    leaning = json.loads(
        trimtab(
            "judge", data, "--judge", tmp_path / "model", "--own", own, "--json", "--no-injections", "--least-mass", 0,
        ).out
    )["self_preference"]  # fmt: skip
    assert leaning["n"] == 1
    assert leaning["value"] in (0.0, 1.0)  # people did not take it, the judge did or not
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


def test_a_judge_behind_a_server(trimtab: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    write_whole_recipe(tmp_path)
    data, calls = tmp_path / "comparisons.heldout.jsonl", tmp_path / "calls.jsonl"
    with serving(lambda *_: well) as server:  # says A with 3/4, whatever stands there
        given = ("--judge", "big", "--base-url", server.url, "--calls", calls, "--no-injections", "--json")
        found = json.loads(trimtab("judge", data, *given).out)
        assert json.loads(trimtab("judge", data, *given).out) == found
        assert len(server.bodies) == 8  # four pairs in two orders, paid once
    assert found["front"]["value"] == pytest.approx(0.75)
    assert found["mass"]["value"] == pytest.approx(1.0)
    assert found["accuracy"]["value"] == 0.5
    refused = trimtab("judge", data, "--judge", "big", "--base-url", "http://me:secret@host/v1")
    assert refused.code != 0
    assert "secret" not in refused.err
    assert "--base-url must begin with http" in refused.err
