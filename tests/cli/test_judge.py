from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.world import CommandLine, write_whole_recipe
from tests.feedback.world import write_constitution
from tests.generation.fake_endpoint import body_of, says, serving, well

from trimtab.feedback.constitution import read_constitution
from trimtab.feedback.injections import injection_set


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
    assert found["injections"] is None


def test_a_reward_model_is_a_judge_and_faces_attacks(trimtab: CommandLine, tmp_path: Path) -> None:
    recipe = write_whole_recipe(tmp_path)
    data = tmp_path / "comparisons.heldout.jsonl"
    assert trimtab("run", recipe, "--until", "reward_model", "--store", tmp_path / "store").code == 0
    stage = tmp_path / "store" / "reward_model"
    found = json.loads(trimtab("judge", data, "--judge", stage, "--json").out)
    assert found["front"] is None
    refused = trimtab("judge", data, "--judge", stage, "--constitution", write_constitution(tmp_path))
    assert "reads no instructions" in refused.err


def test_a_judge_behind_a_server(trimtab: CommandLine, tmp_path: Path) -> None:
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


def test_it_says_how_many_calls_it_will_make(trimtab: CommandLine, tmp_path: Path) -> None:
    write_whole_recipe(tmp_path)
    data, calls = tmp_path / "comparisons.heldout.jsonl", tmp_path / "calls.jsonl"
    principles = write_constitution(tmp_path)
    with serving(lambda *_: well) as server:
        given = ("--judge", "big", "--base-url", server.url, "--calls", calls, "--constitution", principles)
        one = trimtab("judge", data, *given, "--no-injections")
        assert "8 calls for 4 comparisons. Those that" in one.err
        assert len(server.bodies) == 8  # one question a pair, as in a stage
        more = trimtab("judge", data, *given, "--ask", "all", "--thinking", 5, "--max-calls", 0)
    pairs, attacks = injection_set()
    questions = len(read_constitution(principles).principles)
    assert questions > 1
    most = len(pairs) * (1 + len(attacks)) * questions * 4
    assert f"{16 * questions} calls for 4 comparisons, and at most {most:,} to try injections" in more.err
    assert "max_calls is 0" in more.err


def test_a_judge_is_measured_as_a_stage_would_use_it(trimtab: CommandLine, tmp_path: Path) -> None:
    write_whole_recipe(tmp_path)
    data = tmp_path / "comparisons.heldout.jsonl"
    with serving(lambda *_: says(body_of("A"))) as server:  # no log-probabilities
        given = ("--judge", "big", "--base-url", server.url, "--calls", tmp_path / "calls", "--no-injections", "--json")
        assert "hard_answers" in trimtab("judge", data, *given).err
        hard = json.loads(trimtab("judge", data, *given, "--hard-answers").out)
        assert hard["front"]["value"] == pytest.approx(0.95)
        apart = json.loads(trimtab("judge", data, *given, "--hard-answers", "--disagreement", 0.5).out)
        assert apart["left_out"] == {"orders disagree": 4}
        near = json.loads(trimtab("judge", data, *given, "--hard-answers", "--undecided", 0.1).out)
        assert near["left_out"] == {"undecided": 4}
        thought = (*given, "--hard-answers", "--thinking", 5)
        assert json.loads(trimtab("judge", data, *thought).out)["front"]["value"] == pytest.approx(0.6)
        held = json.loads(trimtab("judge", data, *thought, "--clamp", 0.2, 0.8).out)
        assert held["front"]["value"] == pytest.approx(0.8)


def test_the_key_and_the_cap_are_given(trimtab: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual-0123456789")
    monkeypatch.setenv("OTHER_KEY", "sk-other-0123456789")
    write_whole_recipe(tmp_path)
    data = tmp_path / "comparisons.heldout.jsonl"

    def sent(name: str, *more: object) -> set[str | None]:
        with serving(lambda *_: well) as server:
            given = ("--judge", "big", "--base-url", server.url, "--calls", tmp_path / name, "--no-injections")
            assert trimtab("judge", data, *given, *more).code == 0
            return {headers.get("authorization") for headers in server.headers}

    assert sent("usual") == {"Bearer sk-usual-0123456789"}
    assert sent("other", "--api-key-env", "OTHER_KEY") == {"Bearer sk-other-0123456789"}
    assert sent("none", "--api-key-env", "") == {None}
    with serving(lambda *_: well) as server:
        given = ("--judge", "big", "--base-url", server.url, "--calls", tmp_path / "capped", "--no-injections")
        prices = ("--price-input", 1000000, "--price-output", 1, "--max-spend", 1)
        assert "max_spend is 1: raise it" in trimtab("judge", data, *given, *prices).err
        assert server.bodies == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--judge", ""], "--judge is empty"),
        (["--judge", " ", "--base-url", "http://localhost:1/v1"], "--judge is empty"),
        (["--judge", "model", "--instructions", "missing.txt"], "instructions in missing.txt cannot be read: No such"),
        (["--judge", "model", "--instructions", "."], "cannot be read: Is a directory. Name a text file"),
        (["--judge", "model", "--instructions", "latin.txt"], "cannot be read: it is not UTF-8"),
        (["--judge", "model", "--clamp", "0.6", "0.4"], "--clamp: the lower limit comes first"),
        (["--judge", "model", "--clamp", "0.6", "4"], "--clamp: input should be less than or equal to 1"),
        (["--judge", "model", "--undecided", "0.7"], "--undecided: input should be less than 0.5"),
        (["--judge", "model", "--ask", "some"], "--ask: input should be 'all' or 'one'"),
        (["--judge", "b", "--base-url", "http://me:secret@host/v1"], "--base-url: must begin with http"),
        (
            ["--judge", "b", "--base-url", "http://h/v1", "--api-key-env", "sk-secret"],
            "--api-key-env: must be the name",
        ),
        (["--judge", "b", "--base-url", "http://h/v1", "--max-spend", "1"], "max_spend needs price_input"),
    ],
)
def test_mistakes_are_told_of_their_option(trimtab: CommandLine, tmp_path: Path, options: list[str], told: str) -> None:
    write_whole_recipe(tmp_path)
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    refused = trimtab("judge", "comparisons.heldout.jsonl", *options)
    assert refused.code == 1
    assert told in refused.err
    assert "secret" not in refused.err
    assert "Traceback" not in refused.err
