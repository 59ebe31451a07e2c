"""A round with an author whose answers are known: what is asked, what is parsed, what is dropped, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.feedback.world import Author, asked

from trimtab.data.decontamination import HeldOut
from trimtab.data.seed_tasks import Instance, Task
from trimtab.feedback.self_instruct import (
    Asking,
    Pool,
    format_instance,
    grow,
    parse_instances,
    parse_instruction,
)
from trimtab.types import Completion, Prompt

SEEDS = [
    *(Task(f"task-{n}", f"Do the thing {n} to w{n} v{n} u{n}.", (Instance(f"in {n}", f"out {n}"),)) for n in range(9)),
    *(Task(f"label-{n}", f"Sort z{n} y{n} x{n} out.", (Instance(f"thing {n}", "odd"),), True) for n in range(7)),
]
NOTHING_HELD_OUT = HeldOut([])
EMPTY = Pool()
NEW = "Write a new task."


class Scripted(Author):
    """Writes these instructions in turn, calls those with "label" classifications, and gives these instances."""

    def __init__(self, instructions: Sequence[str], instances: Sequence[str] = ("Input: i\nOutput: o",)) -> None:
        super().__init__(self._say)
        self.instructions = iter(instructions)
        self.instances = instances
        self.options: list[dict[str, Any]] = []

    def _say(self, prompt: Prompt) -> str:
        question = prompt.messages[-1].content
        if question == NEW:
            return next(self.instructions)
        if "Yes or No" in prompt.messages[0].content:
            return "Yes." if "label" in question else "No"
        return ""

    def write(self, prompts: Sequence[Prompt], **options: Any) -> list[list[Completion]]:
        groups = super().write(prompts, **options)
        self.options.append(options)
        return [
            [self._finished(one, self.instances[n % len(self.instances)]) for n, one in enumerate(group)]
            for group in groups
        ]

    def _finished(self, completion: Completion, instance: str) -> Completion:
        text = completion.text or instance
        cut = text.endswith("...")
        return replace(completion, text=text.removesuffix("..."), finish_reason="length" if cut else "stop")


def once(author: Author, number: int, pool: Pool = EMPTY, held_out: HeldOut = NOTHING_HELD_OUT, **how: Any) -> Pool:
    return grow(author, SEEDS, pool, Asking(tasks=number, **how), held_out, seed=3, progress=lambda *_: None)


def test_a_round() -> None:
    written = [
        "Name the river of this city.",
        "2. Give a label to the animal here.",
        "Name the river of that city.",  # 5 of 6 words: like another
        "Do the thing 4 to w4 v4 u4 now.",  # like a seed
        "Draw a house with a garden.",
        "Sing.",
        "  ",
        "Write down all that you can see and...",
    ]
    author = Scripted(written)
    pool = once(author, 8)
    assert [(task.id, task.instruction, task.is_classification, task.round) for task in pool.tasks] == [
        ("new-1-1", "Name the river of this city.", False, 1)
    ]
    assert pool.instructions == ("Name the river of this city.", "Give a label to the animal here.")
    assert (pool.rounds, pool.asked, pool.parsed, pool.instances_asked, pool.instances_parsed) == (1, 8, 7, 2, 1)
    assert {name: count for name, count in pool.dropped.items() if count} == {
        "like another instruction": 2,
        "beyond text": 1,
        "three words or fewer": 1,
        "no instruction": 1,
        "cut off": 1,
        "no instance": 1,  # the label's instance did not begin with the label
    }
    task = pool.tasks[0]
    assert task.instances == (Instance("i", "o"),)
    assert len(task.parents) == len(set(task.parents)) == 8
    assert task.nearest_seed == max(2 * 1 / (6 + 8), 2 * 0 / 10)  # "the" of "do the thing n to wn vn un"


def test_what_is_asked() -> None:
    author = Scripted(["Name the river of this city.", "Give a label to the animal here."])
    once(author, 2)
    new, kinds, instances = (call for call, _ in author.calls)
    for prompt in new:
        *shown, last = prompt.messages[1:]
        assert [one.role for one in prompt.messages] == ["system", *["user", "assistant"] * 8, "user"]
        assert {one.content for one in shown if one.role == "user"} == {NEW} == {last.content}
        assert {one.content for one in shown if one.role == "assistant"} <= {task.instruction for task in SEEDS}
    assert [one.content for one in new[0].messages] != [one.content for one in new[1].messages]
    labels = {f"Task: {task.instruction}": "Yes" if task.is_classification else "No" for task in SEEDS}
    said = [one.content for one in kinds[0].messages[1:-1]]
    assert {labels[q] == a for q, a in zip(said[::2], said[1::2], strict=True)} == {True}
    assert said[1::2].count("Yes") == said[1::2].count("No") == 6
    plain, labelled = instances
    assert all(one.content.startswith("Input: in ") for one in plain.messages if one.role == "assistant")
    first = next(one.content for one in labelled.messages if one.role == "assistant")
    assert first.startswith("Class label: odd\nInput: thing ")
    drawn = [(one["temperature"], one.get("top_p", 1.0), one.get("group_size", 1)) for one in author.options]
    assert drawn == [(0.7, 0.5, 1), (0.0, 1.0, 1), (0.7, 0.5, 1)]
    assert [one["max_new_tokens"] for one in author.options] == [80, 4, 160]


def test_a_round_is_another_one_when_its_number_is() -> None:
    def asked_in(rounds: int) -> list[tuple[list[Prompt], int]]:
        author = Scripted(["Name the river of this city."])
        once(author, 1, Pool(rounds=rounds))
        return author.calls

    assert asked_in(0) == asked_in(0)
    (first, one), (later, other) = asked_in(0)[0], asked_in(1)[0]
    assert first != later
    assert one != other


def test_later_rounds_show_what_was_made_and_repeat_nothing() -> None:
    pool = once(Scripted(["Name the river of this city.", "List three kinds of old bread."]), 2)
    author = Scripted(["Name the river of this city.", "Compare two winds of the north."])
    pool = once(author, 2, pool)
    assert [task.id for task in pool.tasks] == ["new-1-1", "new-1-2", "new-2-1"]
    assert (pool.rounds, pool.asked, pool.dropped["like another instruction"]) == (2, 4, 1)
    made, seeds = {"new-1-1", "new-1-2"}, {task.id for task in SEEDS}
    parents = set(pool.tasks[-1].parents)
    assert made < parents
    assert len(parents & seeds) == 6


def test_an_instruction_without_a_usable_instance_is_known_but_no_task() -> None:
    author = Scripted(["Name the river of this city."] * 2, ["Input: i\nOutput: i"])
    pool = once(author, 1)
    assert (pool.tasks, pool.instructions) == ((), ("Name the river of this city.",))
    assert pool.dropped["output is the input"] == 1
    assert once(author, 1, pool).dropped["like another instruction"] == 1


def test_several_instances_go_through_the_filters_together() -> None:
    texts = ["Input: i\nOutput: o", "Input: i\nOutput: o", "Input: j\nOutput: p\nInput: k\nOutput: q..."]
    pool = once(Scripted(["Name the river of this city."], texts), 1, instances=3)
    assert pool.tasks[0].instances == (Instance("i", "o"), Instance("j", "p"))
    assert {name: count for name, count in pool.dropped.items() if count} == {
        "repeated instance": 1,
        "cut-off instance": 1,
    }
    assert (pool.instances_asked, pool.instances_parsed) == (3, 3)
    contradicting = once(Scripted(["Name the river of this city."], [texts[0], "Input: i\nOutput: x"]), 1, instances=2)
    assert (contradicting.tasks, contradicting.dropped["same input, different outputs"]) == ((), 2)


def test_what_overlaps_with_held_out_data_is_dropped() -> None:
    held_out = HeldOut([asked("Name the river of this city.\n\nI")])
    pool = once(Scripted(["Name the river of this city.", "List three kinds of old bread."]), 2, held_out=held_out)
    assert [task.instruction for task in pool.tasks] == ["List three kinds of old bread."]
    assert pool.dropped["like held-out data"] == 1


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("Name a city.", "Name a city."),
        ("Task 9: Name\n a city.\n\nOutput: Lima", "Name a city."),
        ("12. Name a city.", "Name a city."),
        ("New task: Name a city.", "Name a city."),
        ("3.5 is which number?", "3.5 is which number?"),
        ("Tasks are to be sorted.", "Tasks are to be sorted."),
        ("\n", ""),
    ],
)
def test_instructions_are_read_with_or_without_a_number(text: str, instruction: str) -> None:
    assert parse_instruction(text) == instruction


@pytest.mark.parametrize(
    ("text", "label_first", "cut_off", "instances", "missing"),
    [
        ("Input: None\nOutput: La", False, False, [("", "La")], 0),
        ("Input: none.\nOutput: La", False, False, [("", "La")], 0),
        ("Input: a\nb\nOutput: c\n\nd", False, False, [("a\nb", "c\n\nd")], 0),
        ("Sure!\nInput: a\nOutput: b\nInput: c\nOutput: d", False, False, [("a", "b"), ("c", "d")], 0),
        ("Input: a\nOutput: b\nInput: c\nOutput: d", False, True, [("a", "b")], 1),
        ("Input: a", False, True, [], 0),
        ("Output: b", False, False, [], 0),
        ("Class label: yes\nInput: a", True, False, [("a", "yes")], 0),
        ("Input: a\nOutput: yes", True, False, [], 0),
        ("Input: a\nOutput: b\nOutput: c", False, False, [], 0),
        ("Input: a\nOutput: b\nOutput: c\nInput: d\nOutput: e", False, False, [("d", "e")], 0),
        ("Class label: yes\nInput: a\nOutput: b", True, False, [], 0),
        ("Input: a\nOutput: see Input: there", False, False, [("a", "see Input: there")], 0),
    ],
)
def test_instances_are_read(
    text: str, label_first: bool, cut_off: bool, instances: list[tuple[str, str]], missing: int
) -> None:
    found = parse_instances(text, label_first=label_first, cut_off=cut_off)
    assert ([(one.input, one.output) for one in found[0]], found[1]) == (instances, missing)


WORDS = st.text("abc \n", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.one_of(WORDS, st.just("")), WORDS, st.booleans())
def test_what_is_written_is_read_again(given_text: str, output: str, label_first: bool) -> None:
    one = Instance(given_text, output)
    text = format_instance(one, label_first=label_first)
    assert parse_instances(text, label_first=label_first, cut_off=False) == ([one], 0)
