"""Checks a prompt row declares in its `truth` column: a name for each, and what must hold of the response.

    {"amount": {"line": "Amount: 18.40 GBP"}, "figures": {"figures_from": ["2"]}, "length": {"max_words": 60}}

A response passes when every check does. The kinds are in `KINDS`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trimtab.errors import DataError
from trimtab.evaluation.refusals import refuses
from trimtab.evaluation.tasks.task import Sample, Score, Task
from trimtab.types import Prompt

# Figures: digits in groups of three, or plain digits; then perhaps a decimal part.
_NUMBER = re.compile(r"\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?")
_SEPARATORS = re.compile(r"[,\u00a0\u2009\u202f]")
_SAYS_SOMETHING = re.compile(r"[^\W_]")  # punctuation alone does not

Finding = str | None
"""What is wrong with a response, or None."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold of a response: `find(prompt text, response)` says what is wrong, or None."""

    name: str
    kind: str
    find: Callable[[str, str], Finding]


def truth_task(prompts: Sequence[Prompt], name: str = "truth checks") -> Task[tuple[Check, ...]]:
    """The task of answering prompts whose rows carry checks in `meta["truth"]`.

    Raises `DataError` naming the row when one has no checks or a check that cannot be read.
    """
    return Task(name, tuple(truth_sample(prompt, number) for number, prompt in enumerate(prompts, 1)), score_response)


def truth_sample(prompt: Prompt, number: int) -> Sample[tuple[Check, ...]]:
    """One prompt with the checks its row carries; `number` names a row that has no id. Raises as `truth_task` does."""
    row = str(prompt.meta.get("id", f"number {number}"))
    if "truth" not in prompt.meta:
        raise DataError(f"row {row} has no column 'truth', so a response to it cannot be checked")
    return Sample(row, prompt, parse_checks(prompt.meta["truth"], row))


def parse_checks(truth: Any, row: str) -> tuple[Check, ...]:
    """The checks of one row's `truth` column. Raises `DataError` that names the row, the check and the nearest kind."""
    if not isinstance(truth, Mapping) or not truth:
        raise DataError(f"row {row}: 'truth' must map the name of each check to what it checks, not {truth!r}")
    return tuple(_parse(str(name), spec, f"row {row}, check {str(name)!r}") for name, spec in truth.items())


def score_response(sample: Sample[tuple[Check, ...]], response: str) -> Score:
    """Run a sample's checks on a response. The value is the share of checks passed."""
    prompt = "\n".join(message.content for message in sample.prompt.messages)
    findings = {check.name: check.find(prompt, response) for check in sample.target}
    checks = {name: finding is None for name, finding in findings.items()}
    wrong = [f"{name}: {finding}" for name, finding in findings.items() if finding is not None]
    return Score(sum(checks.values()) / len(checks), checks, "; ".join(wrong) or "every check passed")


def figures(text: str) -> list[str]:
    """The figures in a text, in order, without thousands separators.

    A figure is a number that no letter or digit touches from the left: 18.40 is one figure, the 2 of GT2 is none.
    """
    found = []
    for match in _NUMBER.finditer(text):
        if not text[: match.start()][-1:].isalnum():
            found.append(_SEPARATORS.sub("", match.group()))
    return found


def _parse(name: str, spec: Any, where: str) -> Check:
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise DataError(f'{where}: a check is one kind and its value, such as {{"max_words": 60}}, not {spec!r}')
    kind, value = next(iter(spec.items()))
    if kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{where}: unknown kind {kind!r}.{hint} The kinds are {', '.join(KINDS)}.")
    return Check(name, kind, KINDS[kind](value, where))


def _line(value: Any, where: str) -> Callable[[str, str], Finding]:
    wanted = _text(value, where).strip()

    def find(prompt: str, response: str) -> Finding:
        present = wanted in (line.strip() for line in response.splitlines())
        return None if present else f"no line says {wanted!r}"

    return find


def _contains(value: Any, where: str) -> Callable[[str, str], Finding]:
    """Case and white space do not matter; a number at an end of the wanted text is not found inside a longer number."""
    wanted = [_text(item, where) for item in (value if isinstance(value, list) else [value])]
    patterns = [(text, _phrase(text)) for text in wanted]

    def find(prompt: str, response: str) -> Finding:
        missing = [text for text, pattern in patterns if not pattern.search(response)]
        return f"does not contain {', '.join(map(repr, missing))}" if missing else None

    return find


def _figures_from(value: Any, where: str) -> Callable[[str, str], Finding]:
    if not isinstance(value, list):
        raise DataError(f"{where}: 'figures_from' is the list of figures allowed beside the prompt's, not {value!r}")
    listed = {Decimal(figure) for item in value for figure in figures(str(item))}

    def find(prompt: str, response: str) -> Finding:
        allowed = listed | {Decimal(figure) for figure in figures(prompt)}
        invented = [figure for figure in figures(response) if Decimal(figure) not in allowed]
        return f"invents {', '.join(dict.fromkeys(invented))}" if invented else None

    return find


def _max_words(value: Any, where: str) -> Callable[[str, str], Finding]:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"{where}: 'max_words' is a whole number of words, not {value!r}")

    def find(prompt: str, response: str) -> Finding:
        count = len(response.split())
        return f"{count} words, more than {value}" if count > value else None

    return find


def _matches(value: Any, where: str) -> Callable[[str, str], Finding]:
    try:
        pattern = re.compile(_text(value, where))
    except re.error as error:
        raise DataError(f"{where}: {value!r} is not a regular expression: {error}") from error

    def find(prompt: str, response: str) -> Finding:
        return None if pattern.search(response) else f"does not match {value!r}"

    return find


def _refuses(value: Any, where: str) -> Callable[[str, str], Finding]:
    if not isinstance(value, bool):
        raise DataError(f"{where}: 'refuses' is true for a response that must decline, else false, not {value!r}")

    def find(prompt: str, response: str) -> Finding:
        if value:
            return None if refuses(response) else "does not decline"
        if not _SAYS_SOMETHING.search(response):
            return "is empty"  # or a model that says nothing would pass wherever it should help
        return "refuses" if refuses(response) else None

    return find


KINDS: Mapping[str, Callable[[Any, str], Callable[[str, str], Finding]]] = {
    "line": _line,  # some line of the response equals it
    "contains": _contains,  # it occurs in the response; of a list, all do
    "figures_from": _figures_from,  # no figure but the prompt's and these
    "max_words": _max_words,  # at most so many words
    "refuses": _refuses,  # true: it declines (`evaluation.refusals`); false: it is not refused, and not empty
    "matches": _matches,  # the regular expression is found somewhere
}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: expected a text that is not empty, not {value!r}")
    return value


def _phrase(text: str) -> re.Pattern[str]:
    words = text.split()
    start = r"(?<!\d)(?<!\d[.,])" if words[0][0].isdigit() else ""
    end = r"(?!\d|[.,]\d)" if words[-1][-1].isdigit() else ""
    return re.compile(start + r"\s+".join(map(re.escape, words)) + end, re.IGNORECASE)
