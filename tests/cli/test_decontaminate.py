from __future__ import annotations

import json
from pathlib import Path

from tests.cli.world import CommandLine

TEXT = "Say in one sentence what the captain of the ferry did before the storm came"
ROWS = [
    {"prompt": "Sing", "completion": "La"},
    {"prompt": "name a city in PERU", "completion": "Lima", "id": 7},
    {"prompt": "Go on", "completion": f"He was asked this: {TEXT}. He kept quiet."},
    {"prompt": "Dance", "completion": "Hop"},
]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_contaminated_rows_are_told_with_their_places(trimtab: CommandLine, tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", ROWS)
    write(tmp_path / "a.jsonl", [{"prompt": "Jump"}, {"prompt": "Name a city in Peru"}])
    write(tmp_path / "b.jsonl", [{"prompt": TEXT, "chosen": "x", "rejected": "y"}])
    against = ("--against", "a.jsonl", "--against", "b.jsonl")
    ended = trimtab("data", "decontaminate", "train.jsonl", *against)
    assert ended.code == 1
    assert ended.out.splitlines() == [
        "4 rows against 3 held-out prompts: 2 contaminated",
        "  train.jsonl, line 2: same prompt 1.00 with a.jsonl, line 2: Name a city in Peru",
        f"  train.jsonl, line 3: n-grams 1.00 with b.jsonl, line 1: {TEXT}",
    ]
    ended = trimtab("data", "decontaminate", "train.jsonl", *against, "--json", "--out", "clean.jsonl")
    assert ended.code == 0
    report = json.loads(ended.out)
    assert (report["rows"], report["held_out"]) == (4, 3)
    assert report["contaminated"][0] == {
        "row": {"file": "train.jsonl", "line": 2},
        "held_out": {"file": "a.jsonl", "line": 2},
        "reason": "same prompt",
        "score": 1.0,
        "prompt": "Name a city in Peru",
    }
    clean = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text().splitlines()]
    assert clean == [ROWS[0], ROWS[3]]
    ended = trimtab("data", "decontaminate", "clean.jsonl", *against)
    assert (ended.code, ended.out) == (0, "2 rows against 3 held-out prompts: 0 contaminated\n")


def test_limits_and_names_of_columns(trimtab: CommandLine, tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [{"q": "Name a city in Chile", "completion": "Iquique"}])
    write(tmp_path / "held.jsonl", [{"prompt": "Name a city in Peru"}])
    command = ("data", "decontaminate", "train.jsonl", "--against", "held.jsonl", "--columns", "prompt=q")
    assert "line 1: ROUGE-L 0.80 with held.jsonl, line 1" in trimtab(*command).out
    assert trimtab(*command, "--rouge", "0.8").code == 0
    assert trimtab(*command, "--rouge", "1", "--ngram", "4", "--coverage", "0.8").code == 1
    assert trimtab(*command, "--rouge", "1", "--ngram", "5", "--coverage", "0").code == 0


def test_bad_rows_and_plain_text_are_errors(trimtab: CommandLine, tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [*ROWS, {"prompt": "Sing"}])
    write(tmp_path / "held.jsonl", [{"prompt": "Jump"}])
    write(tmp_path / "text.jsonl", [{"text": "Jump"}])
    ended = trimtab("data", "decontaminate", "train.jsonl", "--against", "held.jsonl")
    assert ended.code == 1
    assert "train.jsonl, line 5" in ended.err
    ended = trimtab("data", "decontaminate", "held.jsonl", "--against", "text.jsonl")
    assert "held-out data needs prompts" in ended.err
