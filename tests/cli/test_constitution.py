from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tests.cli.world import CommandLine
from tests.feedback.world import write_constitution


def write_chains(folder: Path, number: int = 3) -> Path:
    text = {"finish_reason": "stop"}
    rows = [
        {
            "id": f"r{n}",
            "prompt": [{"role": "user", "content": f"request {n}"}],
            "draft": {"text": f"draft {n} \x1b[31m", **text},
            "draft_score": None,
            "rounds": [
                {
                    "principle": "kind",
                    "critique": {"text": "rude", **text},
                    "revision": {"text": "mended", **text},
                    "score": None,
                    "kept": True,
                    "dropped": "",
                }
            ],
        }
        for n in range(number)
    ]
    path = folder / "chains.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typing(monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(keys) + "\n"))


def test_a_constitution_is_shown(trimtab: CommandLine, here: Path) -> None:
    shown = trimtab("constitution", "show", write_constitution(here))
    assert "Ours (version " in shown.out
    assert "3 principles" in shown.out
    assert "honest  [a test]" in shown.out
    found = json.loads(trimtab("constitution", "show", here / "constitution.yaml", "--json").out)
    assert [one["id"] for one in found["principles"]] == ["kind", "honest", "safe"]
    broken = trimtab("constitution", "show", write_constitution(here, principles=[{"id": "x"}]))
    assert (broken.code, "principle 1 (x): source must be a text" in broken.err) == (1, True)


def test_verdicts_are_kept_and_the_review_goes_on_where_it_stopped(
    trimtab: CommandLine, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = write_chains(here)
    typing(monkeypatch, "yly" + "zn" + "q")  # a whole verdict, then a key that is none, an answer, and enough
    first = trimtab("constitution", "review", chains, "--reviewer", "ann")
    assert first.code == 0
    assert "Type one of: y, n, u, q" in first.out
    assert "1 verdicts in verdicts.jsonl" in first.out
    assert "\x1b[31m" not in first.err
    typing(monkeypatch, "nsn" + "nsn")
    second = trimtab("constitution", "review", here, "--reviewer", "ann")
    assert "2 of 3" in second.err
    assert "3 verdicts" in second.out
    kept = [json.loads(line) for line in (here / "verdicts.jsonl").read_text().splitlines()]
    assert sorted(one["chain"] for one in kept) == ["r0", "r1", "r2"]
    counted = json.loads(trimtab("constitution", "review", chains, "--json").out)
    assert (counted["verdicts"], counted["reviewers"]) == (3, 1)
    assert counted["shares"]["harm"]["value"] == pytest.approx(1 / 3)


def test_verdicts_on_other_texts_do_not_count(
    trimtab: CommandLine, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with other settings gives its rounds the same names; what was said of the old ones is of no use there."""
    chains = write_chains(here)
    typing(monkeypatch, "yly" * 3)
    trimtab("constitution", "review", chains)
    chains.write_text(chains.read_text().replace("mended", "mended better"))
    assert json.loads(trimtab("constitution", "review", chains, "--json").out)["verdicts"] == 0
    typing(monkeypatch, "nsn" * 3)
    again = trimtab("constitution", "review", chains)
    assert "1 of 3" in again.err
    assert "3 verdicts" in again.out


def test_two_reviewers_see_the_same_sample(trimtab: CommandLine, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chains = write_chains(here, 30)
    for reviewer in ("ann", "bo"):
        typing(monkeypatch, "yly" * 4)
        trimtab("constitution", "review", chains, "--reviewer", reviewer, "--sample", "4", "--seed", "5")
    kept = [json.loads(line) for line in (here / "verdicts.jsonl").read_text().splitlines()]
    seen = {who: [one["chain"] for one in kept if one["reviewer"] == who] for who in ("ann", "bo")}
    assert seen["ann"] == seen["bo"]
    assert len(set(seen["ann"])) == 4


def test_a_folder_without_chains_is_told(trimtab: CommandLine, here: Path) -> None:
    missing = trimtab("constitution", "review", here)
    assert (missing.code, "A stage of kind revise makes it" in missing.err) == (1, True)


def test_a_file_that_is_no_chains_is_told_with_its_line(trimtab: CommandLine, here: Path) -> None:
    (here / "data.jsonl").write_text('{"prompt": "how?", "completion": "so"}\n')
    for asked in ((), ("--json",)):
        told = trimtab("constitution", "review", here / "data.jsonl", *asked)
        assert (told.code, "data.jsonl, line 1 is no chain" in told.err.replace("\n", " ")) == (1, True)


def test_a_verdict_without_an_answer_is_told_with_its_line(
    trimtab: CommandLine, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = write_chains(here, 1)
    typing(monkeypatch, "yly")
    trimtab("constitution", "review", chains)
    verdicts = here / "verdicts.jsonl"
    row = json.loads(verdicts.read_text())
    del row["answers"]["harm"]
    verdicts.write_text(json.dumps(row) + "\n")
    told = trimtab("constitution", "review", chains, "--json")
    assert (told.code, "line 1 is no verdict: its answer to 'harm'" in told.err.replace("\n", " ")) == (1, True)
