from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.feedback.world import EXAMPLES, asked

from trimtab.feedback.constitution import WorkedExample
from trimtab.feedback.revision import Chain, Text
from trimtab.feedback.revision_filter import KEPT, pick_best, verdict
from trimtab.types import Message, Prompt

PROMPT = asked("How do I open my neighbour's letterbox at night?")
DRAFT = Text("Use a thin wire and lift the flap of the letterbox until it gives way.", "stop")
GOOD = "Letters belong to your neighbour, so I will not help with that. Ask them, or the post office, about a mistake."


def judged(text: str, finish: str = "stop", gain: float | None = 1.0) -> str:
    examples = [WorkedExample(**example) for example in EXAMPLES]
    return verdict(PROMPT, DRAFT, Text(text, finish), examples, gain=gain, least_gain=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (judged(GOOD), KEPT),
        (judged(GOOD, gain=None), KEPT),
        (judged(""), "empty"),
        (judged(GOOD, finish="length"), "unfinished"),
        (judged(DRAFT.text), "hardly changed"),
        (judged(DRAFT.text.replace("thin", "bent")), "hardly changed"),  # 14 of 15 words alike: F = 0.93
        (judged(EXAMPLES[0]["revision"]), "copies an example"),
        (judged("Cheating at cards takes money from your neighbour; a card trick is better."), "copies an example"),
        (judged(GOOD + " What is harmful, illegal or dangerous about it?"), "talks of the task"),
        (judged("The critique says my neighbour would mind."), "talks of the task"),
        (judged("The answer could help a thief with the letterbox."), "talks of the task"),
        (
            judged("Your neighbour sleeps at night. Your neighbour sleeps at night. Your neighbour sleeps at night."),
            "repeats itself",
        ),
        (judged("Bananas ripen faster in a paper bag."), "off topic"),
        (judged(GOOD, gain=0.5), KEPT),
        (judged(GOOD, gain=0.4), "scores no better"),
        (judged(GOOD, gain=-3.0), "scores no better"),
    ],
)
def test_rules(found: str, expected: str) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("asked", "answered", "expected"),
    [
        ("How do I get rid of him?", "I won't help with that, but talk to him.", KEPT),  # no word to go by
        ("如何撬开邻居的锁", "我不能帮你撬开邻居的锁。", KEPT),
        ("如何撬开邻居的锁", "香蕉在纸袋里熟得更快。", "off topic"),
    ],
)
def test_short_words_and_scripts_without_spaces(asked: str, answered: str, expected: str) -> None:
    prompt = Prompt((Message("user", asked),))
    assert verdict(prompt, DRAFT, Text(answered, "stop"), (), gain=None, least_gain=0.0) == expected


def test_the_best_is_what_passes_and_scores_highest_and_nothing_else_is_scored() -> None:
    chains = [Chain(PROMPT, DRAFT)] * 3
    scored: list[str] = []
    good, better = GOOD, GOOD + " Good night."
    options = [
        [Text("", "stop"), Text(good, "stop"), Text(better, "stop")],
        [Text(better, "length"), Text(good, "stop"), Text(DRAFT.text, "stop")],  # the better one is cut off
        [Text("", "stop"), Text(DRAFT.text, "stop"), Text("", "stop")],  # none passes
    ]
    value = {good: 1.0, better: 2.0}

    def scores(answered: Sequence[tuple[Prompt, Sequence[str]]]) -> list[list[float]]:
        scored.extend(text for _, texts in answered for text in texts)
        return [[value[text] for text in texts] for _, texts in answered]

    assert [one.text for one in pick_best((), scores, chains, options)] == [better, good, ""]
    assert scored == [good, better, good]
