"""Whether a text is an answer or a continuation: cases told by reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.test_summary import change, metric
from tests.evaluation.world import completion, prompt

from trimtab.evaluation.outputs import TEMPLATED, ModelOutputs
from trimtab.evaluation.summary import evaluate
from trimtab.evaluation.tasks.answered import continuation
from trimtab.evaluation.verdicts import Bars
from trimtab.types import Message, Prompt

LABELS = [
    json.loads(line) for line in (Path(__file__).parent / "answered_labels.jsonl").read_text("utf-8").splitlines()
]
LISBON = "What is the capital of Portugal?"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (LISBON, "The capital of Portugal is Lisbon."),
        (LISBON, "Madrid"),  # wrong, but an answer
        (LISBON, "Answer: Lisbon"),
        ("Translate into English: Wie geht es dir?", "How are you?"),
        ("Turn this into a question: It rains.", "Does it rain?"),
        ("What could I ask in an interview?", "What is a good day like here? Who leads the team?"),
        ("Say hello three times.", "Hello! Hello! Hello!"),  # one word is no loop
        ("Make a list.", "1. tea\n2. milk\n3. tea"),
        ("Write JSON.", '{"question": "none", "answer": 5}'),
    ],
)
def test_answers(asked: str, text: str) -> None:
    assert continuation(completion(text, asked=prompt(asked))) is None


@pytest.mark.parametrize(
    ("asked", "text", "why"),
    [
        (LISBON, "", "writes nothing"),
        (LISBON, " \n", "writes nothing"),
        (LISBON, "Lisbon.\nQuestion: What is the capital of Spain?", "writes further turns"),
        (LISBON, "Lisbon\n\nUser: And of Spain?\nAssistant: Madrid", "writes further turns"),
        (LISBON, "Q: Which city is it?", "writes further turns"),
        (LISBON, "Lisbon<end_of_turn>", "writes further turns"),
        (LISBON, "It is a city. It is a city. It is a city.", "repeats itself"),
        (LISBON, "the next line\nThe next line\nthe next  line!", "repeats itself"),
        (LISBON, "What is the capital of Portugal?\nLisbon", "repeats the request"),
        (
            'Who is it? "Ann was seen in the old town at noon."',
            "Ann was seen in the old town at noon.",
            "repeats the request",
        ),
        (LISBON, "What is the capital of Spain?", "asks further questions"),
        (LISBON, "Which is the largest city?\nIs it on the coast?", "asks further questions"),
    ],
)
def test_continuations(asked: str, text: str, why: str) -> None:
    assert continuation(completion(text, asked=prompt(asked))) == why


def test_what_is_cut_off_is_no_answer() -> None:
    assert continuation(completion("Lisbon", finish_reason="length", asked=prompt(LISBON))) == "does not stop by itself"


def agreement(sample: str) -> tuple[int, int]:
    """On how many completions of a sample the rule agrees with labels given by hand."""
    rows = [row for row in LABELS if row["sample"] == sample]
    found = [
        continuation(
            completion(
                row["text"],
                finish_reason=row["finish_reason"],
                asked=Prompt(tuple(Message(**one) for one in row["prompt"])),
            )
        )
        is None
        for row in rows
    ]
    return sum(one == row["answered"] for one, row in zip(found, rows, strict=True)), len(rows)


def test_the_rule_agrees_with_a_reader() -> None:
    """The clause on copies was added after the first sample was read; the second was read after it. Both are greedy."""
    assert agreement("first") == (59, 60)
    assert agreement("second") == (39, 40)


def test_the_rule_does_not_see_nonsense() -> None:
    """Drawn at temperature 1.4 the tuned model babbles and stops, which a reader takes for no answer."""
    assert agreement("hot") == (15, 24)


def both_ways(bars: Bars | None = None) -> dict[str, Any]:
    """Twelve questions: the base goes on from its text, with the template it answers three, tuned it answers all."""
    prompts = [prompt(f"q{n}", truth={"word": {"contains": "yes"}}) for n in range(12)]

    def model(name: str, kind: str, answered: int) -> ModelOutputs:
        ends = ["stop"] * answered + ["length"] * (12 - answered)
        said = [
            completion("yes" if end == "stop" else "no", finish_reason=end, asked=one)
            for end, one in zip(ends, prompts, strict=True)
        ]
        return ModelOutputs(name, said, kind=kind, shown=[completion(f"{name} says", asked=prompt(LISBON))])

    models = [model("base", "", 0), model("base as chat", TEMPLATED, 3), model("sft", "sft", 12)]
    return evaluate(models, prompts, bars=bars, num_random=2, seed=1)


def test_the_tuned_model_is_compared_with_both_ways_of_asking_the_base() -> None:
    found = both_ways()
    assert metric(found, "answered") == {"base": 0.0, "base as chat": 0.25, "sft": 1.0}
    pairs = {(row["before"], row["after"]) for row in found["differences"]}
    assert pairs == {("base", "base as chat"), ("base", "sft"), ("base as chat", "sft")}
    assert change(found, "answered", "base", "sft")["estimate"]["value"] == 1.0
    assert change(found, "answered", "base as chat", "sft")["estimate"]["value"] == 0.75
    claims = [(one["claim"], one["outcome"]) for one in found["verdicts"]]
    assert claims == [
        ("Learning from demonstrations makes the model answer rather than continue (base to sft).", "met"),
        ("Learning from demonstrations makes the model answer rather than continue (base as chat to sft).", "met"),
    ]


def test_the_bars_are_held_to_the_better_way_of_asking() -> None:
    found = both_ways(Bars("all", before_below=0.2, after_above=0.5, largest_loss=0.05))
    (verdict,) = (one for one in found["verdicts"] if "pass every check" in one["claim"])
    assert verdict["finding"].startswith("base as chat: 25 %")
    assert verdict["outcome"] == "not met"


def test_what_is_always_shown_comes_first_and_counts_for_nothing() -> None:
    found = both_ways()
    first, *drawn = found["examples"]["items"]
    assert first["prompt"] == [{"role": "user", "content": LISBON}]
    assert [one["text"] for one in first["answers"]] == ["base says", "base as chat says", "sft says"]
    assert first["chosen"] == "shown in every run"
    assert len(drawn) == 2
    assert found["groups"] == {"all": 12}
    assert drawn[0]["answers"][0]["continues"] == "does not stop by itself"
    assert drawn[0]["answers"][2]["continues"] == ""
