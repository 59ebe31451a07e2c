from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.decontamination import HeldOut, Overlap
from trimtab.types import Comparison, Demonstration, Grade, Message, Prompt, Ranking

TWELVE = "one two three four five six seven eight nine ten eleven twelve"
SHORT = "Name a city in Peru"


def asked(text: str, system: str = "") -> Prompt:
    before = (Message("system", system),) if system else ()
    return Prompt((*before, Message("user", text)))


def found(row: Prompt | Demonstration, **options: float) -> Overlap | None:
    return HeldOut([asked(SHORT, system="Be brief."), asked(TWELVE)], **options).find(row)  # type: ignore[arg-type]


def test_the_same_prompt_whatever_the_case_the_spaces_and_the_system_message() -> None:
    assert found(asked("name  a City in peru")) == Overlap(0, "same prompt", 1.0)
    assert found(asked(SHORT, system="Be wordy.")) == Overlap(0, "same prompt", 1.0)
    assert found(asked("Sing")) is None


def test_nearly_the_same_prompt() -> None:
    assert found(asked("Name a city in Chile")) == Overlap(0, "ROUGE-L", 0.8)  # 4 of 5 words: 2 * 4 / 10
    assert found(asked("Name a city in Chile"), rouge=0.8) is None
    assert found(asked("Name a big town in Chile")) is None  # "name a in": 2 * 3 / 11


def test_a_prompt_inside_a_longer_text() -> None:
    other = " ".join(f"w{n}" for n in range(30))
    eight = TWELVE.rsplit(maxsplit=4)[0]
    assert found(asked(f"{other} {TWELVE} {other}")) == Overlap(1, "n-grams", 1.0)
    assert found(Demonstration(asked(other), f"{eight.upper()}! {other}")) == Overlap(
        1, "n-grams", pytest.approx(8 / 12)
    )
    assert found(Demonstration(asked(other), eight + " " + other), coverage=0.7) is None
    assert found(Demonstration(asked(other), eight + " " + other), coverage=8 / 12) is not None
    assert found(asked(f"{other} {TWELVE.rsplit(maxsplit=5)[0]} {other}")) is None  # seven words are no run
    halves = f"{eight} {other} {TWELVE.split(maxsplit=3)[3]}"  # one to eight, and four to twelve
    assert found(asked(halves)) == Overlap(1, "n-grams", 1.0)
    assert found(asked(f"{other} {SHORT} {other}")) is None  # too short for a run


def test_all_that_records_say_is_looked_at() -> None:
    held_out = HeldOut([asked(TWELVE)])
    prompt = asked("Count")
    for record in (
        Demonstration(Prompt(()), TWELVE),
        Comparison(prompt, TWELVE, "no"),
        Comparison(prompt, "no", TWELVE),
        Ranking(prompt, ("no", TWELVE), ((0,), (1,))),
        Grade(prompt, TWELVE, 1.0),
    ):
        assert held_out.find(record) == Overlap(0, "n-grams", 1.0)
    assert held_out.find(Comparison(prompt, "no", "yes")) is None


def test_nothing_overlaps_with_nothing() -> None:
    assert HeldOut([]).find(asked(TWELVE)) is None
    assert HeldOut([asked("?")]).find(asked("!")) is None


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=8, max_size=14).map(" ".join), min_size=1, max_size=5))
def test_every_prompt_is_found_again_wherever_it_stands(prompts: list[str]) -> None:
    held_out = HeldOut(map(asked, prompts))
    for prompt in prompts:
        same = held_out.find(asked(prompt.upper()))
        assert same is not None
        assert (prompts[same.number], same.reason) == (prompt, "same prompt")
        inside = held_out.find(asked(f"x {prompt} " + "y " * 40))
        assert inside is not None
        assert (inside.reason, inside.score) == ("n-grams", 1.0)
