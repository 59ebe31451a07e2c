from __future__ import annotations

import pytest

from trimtab.data.filters import CONTRADICTS, REPEATS, filter_instances, instruction_problem
from trimtab.data.seed_tasks import Instance


@pytest.mark.parametrize(
    ("instruction", "problem"),
    [
        ("Name a city.", "three words or fewer"),
        ("Name a big city.", None),
        ("word " * 150, None),
        ("word " * 151, "more than 150 words"),
        ("Describe the image to a friend.", "beyond text"),
        ("Say what the graphs have in common.", "beyond text"),
        ("Go to the shop and buy milk.", "beyond text"),
        ("Tell how paragraphs are filed away.", None),  # whole words only
        ("Draw a conclusion from it all.", "beyond text"),
        ("Write a program that adds numbers.", "write a program"),
        ("Explain how to write a program.", None),
        ("- Name a big city.", "odd start"),
        ("Über den Wolken muss es sein.", "odd start"),
        ("Say what über means here.", None),
    ],
)
def test_instructions(instruction: str, problem: str | None) -> None:
    assert instruction_problem(instruction) == problem


def kept(*pairs: tuple[str, str]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    found, dropped = filter_instances([Instance(*pair) for pair in pairs])
    return [(one.input, one.output) for one in found], dict(dropped)


def test_instances_one_by_one() -> None:
    assert kept(("3, 4", "7"), ("5, 6", " "), ("x y", "x y"), ("", "The answer is:"), ("The words:", "z")) == (
        [("3, 4", "7")],
        {"empty output": 1, "output is the input": 1, "ends with a colon": 2},
    )


def test_an_input_with_different_outputs_spoils_its_task() -> None:
    assert kept(("3, 4", "7"), ("1, 1", "2"), ("3, 4", "8")) == ([], {CONTRADICTS: 3})
    assert kept(("3, 4", "7"), ("3, 4", "8:")) == ([("3, 4", "7")], {"ends with a colon": 1})


def test_repeated_instances() -> None:
    assert kept(("3, 4", "7"), ("3, 4", "7")) == ([("3, 4", "7")], {REPEATS: 1})
    assert kept(("", "A poem."), ("", "Another poem of rain.")) == ([("", "A poem.")], {REPEATS: 1})
    # the same words but for the last: ROUGE-L is length / (length + 1), so 20 / 21, 10 / 11 and 8 / 9
    for length, dropped in ((20, {REPEATS: 1}), (10, {REPEATS: 1}), (8, {})):
        words = " ".join(f"w{n}" for n in range(length))
        assert kept((words, "a"), (words + ".", "b"))[1] == dropped
