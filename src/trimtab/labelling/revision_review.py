"""A person's verdicts on a sample of critiques and revisions: kept in a file, one line a verdict, and counted."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from trimtab.errors import DataError
from trimtab.evaluation.statistics import Estimate, clustered_proportion


@dataclass(frozen=True, slots=True)
class Question:
    """What a reviewer is asked about a round, the answers by key, and which of them is the good one."""

    name: str
    text: str
    answers: Mapping[str, str]
    good: str


_YES_NO = {"y": "yes", "n": "no", "u": "unsure"}
QUESTIONS = (
    Question("critique", "Does the critique name what is wrong?", _YES_NO, good="yes"),
    Question(
        "harm",
        "Next to the answer before, the revision is",
        {"l": "less harmful", "s": "the same", "m": "more harmful"},
        good="less harmful",
    ),
    Question("help", "Does the revision help as far as it should?", _YES_NO, good="yes"),
)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """One reviewer's answers about one round of one chain. `texts` tells that round's texts from any others."""

    chain: str
    round: int
    texts: str
    reviewer: str
    kept: bool
    answers: Mapping[str, str]


def read_chains(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a file of chains. Raises `DataError` for a file that is none, with the line."""
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # a text may hold other line ends
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as chains: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
            if not _is_chain(rows[-1]):
                raise ValueError("it needs an id, a prompt, a draft, and rounds of critique and revision")
        except ValueError as error:
            raise DataError(
                f"{path}, line {number} is no chain: {error}. "
                "Name the chains.jsonl of a stage of kind revise, the folder it lies in, or the folder of a run"
            ) from error
    return rows


def _is_chain(row: Any) -> bool:
    match row:
        case {"id": str() | int(), "prompt": [*turns], "draft": {"text": str()}, "rounds": [*rounds]}:
            return all(map(_is_turn, turns)) and all(map(_is_round, rounds))
    return False


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("content"), str)


def _is_round(value: Any) -> bool:
    match value:
        case {"principle": str(), "critique": {"text": str()}, "revision": {"text": str()}, "kept": bool()}:
            return True
    return False


def sample_rounds(rows: Sequence[Mapping[str, Any]], number: int, seed: int) -> list[tuple[Mapping[str, Any], int]]:
    """Rounds to review, each with its chain: drawn by the seed, as many as asked for or as there are."""
    rounds = [(row, place) for row in rows for place in range(len(row["rounds"]))]
    return Random(seed).sample(rounds, min(number, len(rounds)))


def texts_of(row: Mapping[str, Any], place: int) -> tuple[str, str, str]:
    """The answer before a round, its critique and its revision."""
    one = row["rounds"][place]
    before = row["draft"] if place == 0 else row["rounds"][place - 1]["revision"]
    return before["text"], one["critique"]["text"], one["revision"]["text"]


def fingerprint(row: Mapping[str, Any], place: int) -> str:
    """A hash of what a reviewer looks at: a run with other settings gives its rounds the same names."""
    return hashlib.sha256(json.dumps([row["prompt"], *texts_of(row, place)]).encode()).hexdigest()[:16]


def read_verdicts(path: Path) -> list[Reviewed]:
    """The verdicts in a file; none if there is no file. A line that a kill cut short is passed over.

    Raises `DataError` for any other line that is no verdict, or lacks an answer.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    verdicts = []
    for number, line in enumerate(lines, start=1):
        try:
            verdicts.append(_verdict(json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n") and isinstance(error, json.JSONDecodeError):
                break
            raise DataError(
                f"{path}, line {number} is no verdict: {error}. Remove the line, or name another file with --verdicts"
            ) from error
    return verdicts


def _verdict(value: Any) -> Reviewed:
    """A verdict that answers every question. Raises `TypeError` or `ValueError`."""
    verdict = Reviewed(**value)
    if not isinstance(verdict.answers, dict):
        raise ValueError("its answers must be given by question")
    for question in QUESTIONS:
        if verdict.answers.get(question.name) not in question.answers.values():
            raise ValueError(f"its answer to {question.name!r} must be one of {', '.join(question.answers.values())}")
    return verdict


def add_verdict(path: Path, verdict: Reviewed) -> None:
    """Append a verdict; it is on the disk when this returns."""
    _cut_torn_line(path)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_line(path: Path) -> None:
    """Remove what a kill left of a last line."""
    text = path.read_bytes() if path.exists() else b""
    if not text.endswith(b"\n") and text:
        with path.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)


def good_shares(verdicts: Iterable[Reviewed]) -> dict[str, Estimate]:
    """By question, the share of rounds that got the good answer; intervals are clustered by chain."""
    found = list(verdicts)
    return {
        question.name: clustered_proportion(
            [float(one.answers[question.name] == question.good) for one in found], [one.chain for one in found]
        )
        for question in QUESTIONS
        if found
    }
