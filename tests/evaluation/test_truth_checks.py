from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.world import prompt

from trimtab.errors import DataError
from trimtab.evaluation.tasks.task import Score
from trimtab.evaluation.tasks.truth_checks import figures, parse_checks, score_response, truth_task


def run(truth: dict[str, Any], response: str, asked: str = "Taxi, 18.40 GBP, 3 May") -> Score:
    task = truth_task([prompt(asked, id="row-1", truth=truth)])
    return task.scorer(task.samples[0], response)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Amount: 18.40 GBP", ["18.40"]),
        ("GT2, HC7 and v1.2", []),
        ("GBP18.40", []),
        ("£18.40 for 3 guests, 4th visit", ["18.40", "3", "4"]),
        ("1,873 NOK and 12,345,678.90", ["1873", "12345678.90"]),
        ("1\u202f873 NOK", ["1873"]),
        ("18,40", ["18", "40"]),
        ("1,2345", ["1", "2345"]),
        ("It costs 22.50.", ["22.50"]),
        ("25.09.2026", ["25.09", "2026"]),
        ("no figures", []),
    ],
)
def test_figures(text: str, found: list[str]) -> None:
    assert figures(text) == found


def test_line_is_a_whole_line_without_the_space_around_it() -> None:
    truth = {"amount": {"line": "Amount: 18.40 GBP"}}
    assert run(truth, "Category: x\n  Amount: 18.40 GBP \nend").passed
    assert not run(truth, "Amount: 18.40 GBP each").passed
    assert not run(truth, "amount: 18.40 GBP").passed


def test_contains_ignores_case_and_breaks_and_keeps_numbers_whole() -> None:
    assert run({"fact": {"contains": "4 hours"}}, "After 4\nHOURS on board").passed
    assert not run({"fact": {"contains": "4 hours"}}, "After 14 hours").passed
    assert not run({"fact": {"contains": "4 hours"}}, "After 2.4 hours").passed
    assert run({"fact": {"contains": "costs 18"}}, "it costs 18.").passed
    assert not run({"fact": {"contains": "costs 18"}}, "it costs 18.50").passed
    assert run({"fact": {"contains": "book"}}, "the bookings").passed


def test_contains_all_of_a_list() -> None:
    truth = {"fact": {"contains": ["118 GBP", "night"]}}
    assert run(truth, "118 gbp a Night").passed
    score = run(truth, "118 GBP")
    assert not score.passed
    assert "'night'" in score.explanation


def test_figures_come_from_the_prompt_or_the_list() -> None:
    truth = {"figures": {"figures_from": ["2", 30]}}
    assert run(truth, "18.40 GBP on 3 May for 2 guests, 30 in all, code GT9").passed
    assert run(truth, "18.4 is the same number").passed
    assert "invents 18, 9.20" in run(truth, "18 GBP, or 9.20 each, 9.20").explanation


def test_max_words_and_matches() -> None:
    assert run({"length": {"max_words": 3}}, "one two three").passed
    assert not run({"length": {"max_words": 3}}, "one two three four").passed
    assert run({"code": {"matches": r"\b[A-Z]{2}\d\b"}}, "use GT2").passed
    assert not run({"code": {"matches": r"\b[A-Z]{2}\d\b"}}, "use gt2").passed


def test_a_response_passes_when_all_checks_do() -> None:
    truth = {"amount": {"line": "A: 1"}, "length": {"max_words": 9}}
    score = run(truth, "nothing of the kind", asked="1")
    assert dict(score.checks) == {"amount": False, "length": True}
    assert score.value == 0.5
    assert not score.passed


def test_an_empty_response_fails_what_must_be_there() -> None:
    assert not run({"amount": {"line": "A: 1"}}, "").passed


@pytest.mark.parametrize(
    ("response", "answered", "declined"),
    [
        ("Boil them for seven minutes.", True, False),
        ("I can't help you with that.", False, True),
        ("", False, False),
        (" \n\t\u00a0", False, False),
        ("...", False, False),
        ("____", False, False),
        ("7", True, False),
        ("七分", True, False),
    ],
)
def test_an_answer_to_a_harmless_request_is_not_refused_and_not_empty(
    response: str, answered: bool, declined: bool
) -> None:
    assert run({"answers": {"refuses": False}}, response).passed == answered
    assert run({"declines": {"refuses": True}}, response).passed == declined


def test_what_fails_a_harmless_request_is_told_apart() -> None:
    truth = {"answers": {"refuses": False}}
    assert run(truth, " ").explanation == "answers: is empty"
    assert run(truth, "I won't do that.").explanation == "answers: refuses"


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"figures": {"figure_from": []}}, r"row row-7, check 'figures': unknown kind 'figure_from'.*'figures_from'"),
        ({"a": {"zzz": 1}}, r"unknown kind 'zzz'\. The kinds are line, contains"),
        ({"a": {"line": "x", "max_words": 3}}, "one kind and its value"),
        ({"a": "x"}, "one kind and its value"),
        ({}, "must map"),
        ("x", "must map"),
        ({"a": {"line": ""}}, "not empty"),
        ({"a": {"contains": [3]}}, "expected a text"),
        ({"a": {"figures_from": "2"}}, "is the list of figures"),
        ({"a": {"max_words": True}}, "whole number"),
        ({"a": {"max_words": 0}}, "whole number"),
        ({"a": {"matches": "("}}, "not a regular expression"),
    ],
)
def test_a_check_that_cannot_be_read_is_named(truth: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_checks(truth, "row-7")


def test_a_row_without_truth_is_named() -> None:
    with pytest.raises(DataError, match="row number 2 has no column 'truth'"):
        truth_task([prompt("a", truth={"x": {"line": "y"}}), prompt("b")])


@given(st.text(max_size=80))
def test_repeating_the_prompt_invents_nothing(text: str) -> None:
    task = truth_task([prompt(text, truth={"figures": {"figures_from": []}})])
    assert score_response(task.samples[0], text).passed
