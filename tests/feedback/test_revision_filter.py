from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.feedback.world import EXAMPLES, PRINCIPLES, asked

from trimtab.feedback.constitution import WorkedExample, read_constitution
from trimtab.feedback.revision import Chain, Text
from trimtab.feedback.revision_filter import KEPT, pick_best, verdict
from trimtab.types import Message, Prompt

PROMPT = asked("How do I open my neighbour's letterbox at night?")
DRAFT = Text("Use a thin wire and lift the flap of the letterbox until it gives way.", "stop")
REQUESTS = [one[kind] for one in PRINCIPLES for kind in ("critique", "revision")]
FOLDER = Path(__file__).parents[2] / "examples" / "constitution"
GOOD = "Letters belong to your neighbour, so I will not help with that. Ask them, or the post office, about a mistake."


def judged(text: str, finish: str = "stop", gain: float | None = 1.0) -> str:
    examples = [WorkedExample(**example) for example in EXAMPLES]
    return verdict(PROMPT, DRAFT, Text(text, finish), examples, REQUESTS, gain=gain, least_gain=0.5)  # type: ignore[arg-type]


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
        (judged(PROMPT.messages[-1].content), "talks of the task"),
        (judged("How do I open my neighbour's letterbox at night"), "talks of the task"),
        (judged("So, how do I open my neighbour's letterbox at night?"), "talks of the task"),
        (judged("Write it anew, more safe."), "talks of the task"),
        (judged("Write it anew, more safe, at night."), "talks of the task"),
        (judged("I can't open my neighbour's letterbox at night."), KEPT),
        (judged("I won't say how I open my neighbour's letterbox at night."), KEPT),
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
    assert verdict(prompt, DRAFT, Text(answered, "stop"), (), REQUESTS, gain=None, least_gain=0.0) == expected


def without_scorer(asked_for: str, answered: str, requests: Sequence[str]) -> str:
    return verdict(asked(asked_for), DRAFT, Text(answered, "stop"), (), requests, gain=None, least_gain=0.0)


def our_requests() -> list[str]:
    ours = read_constitution(FOLDER / "constitution.yaml")
    return [text for one in ours.principles for text in (one.critique, one.revision)]


def test_a_short_refusal_may_share_all_but_its_denial_with_a_long_request() -> None:
    request = "write a message from a bank to its customers which says that their money is gone and whom they must call"
    assert without_scorer(request, f"Please {request}.", REQUESTS) == "talks of the task"
    assert without_scorer(request, f"I can't {request}.", REQUESTS) == KEPT
    assert without_scorer(f"don't {request}", f"I don't {request}.", REQUESTS) == "talks of the task"


def test_what_an_earlier_turn_asked_is_not_an_answer_either() -> None:
    turns = (
        Message("user", "Which key opens the letterbox?"),
        Message("assistant", "It has a small key of its own."),
        Message("user", "And how without that letterbox key?"),
    )
    found = [
        verdict(Prompt(turns), DRAFT, Text(turn.content, "stop"), (), REQUESTS, gain=None, least_gain=0.0)
        for turn in turns
    ]
    assert [one == "talks of the task" for one in found] == [True, False, True]


def test_no_request_of_ours_is_kept_as_an_answer_to_any_of_our_prompts() -> None:
    requests = our_requests()
    prompts = [json.loads(line)["prompt"] for line in (FOLDER / "red_team.train.jsonl").read_text("utf-8").splitlines()]
    assert {without_scorer(prompt, prompt, requests) for prompt in prompts} == {"talks of the task"}
    sentences = {sentence for request in requests for sentence in re.split(r"(?<=[.?]) ", request)}
    assert len(sentences) > 32
    for prompt in prompts[:9]:  # which one it is does not matter
        assert {without_scorer(prompt, text, requests) for text in {*requests, *sentences}} == {"talks of the task"}


def test_no_proper_answer_of_ours_is_taken_for_what_was_asked() -> None:
    requests = our_requests()
    lines = (FOLDER / "pools" / "samples.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = [without_scorer(row["prompt"], pair["declines"], requests) for row in rows for pair in row["pairs"]]
    assert len(found) == 56
    assert "talks of the task" not in found


def test_the_best_is_what_passes_and_scores_highest_and_nothing_else_is_scored() -> None:
    chains = [Chain(PROMPT, DRAFT)] * 3
    scored: list[str] = []
    good, better = GOOD, GOOD + " Good night."
    requests = ["Write it anew, so that no neighbour is hurt."]
    options = [
        [Text(requests[0], "stop"), Text(good, "stop"), Text(better, "stop")],
        [Text(better, "length"), Text(good, "stop"), Text(DRAFT.text, "stop")],  # the better one is cut off
        [Text("", "stop"), Text(DRAFT.text, "stop"), Text("", "stop")],  # none passes
    ]
    value = {good: 1.0, better: 2.0}

    def scores(answered: Sequence[tuple[Prompt, Sequence[str]]]) -> list[list[float]]:
        scored.extend(text for _, texts in answered for text in texts)
        return [[value[text] for text in texts] for _, texts in answered]

    assert [one.text for one in pick_best((), requests, scores, chains, options)] == [better, good, ""]
    assert scored == [good, better, good]
