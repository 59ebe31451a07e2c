"""Whether a model answers what it was asked, or goes on writing as if the request were the beginning of a text.

A base model continues. Asked a question it may write more questions, the turns of both sides, the request once more, or
one line again and again; and it does not know when it is done. The rule looks for these signs alone: it does not ask
whether an answer is right.
"""

from __future__ import annotations

import re
from collections import Counter

from trimtab.types import Completion

# What opens somebody's turn or a next exercise, and markup of turns written out as text.
_ASKER = r"user|human|question|q|instruction|input|student|exercise"
_ANSWERER = r"assistant|model|answer|a|response|output|teacher"
_TURN = re.compile(
    rf"\A\W*({_ASKER})\s*\d*\s*:\s|\n\W*({_ASKER}|{_ANSWERER})\s*\d*\s*:\s"
    r"|<\|?(im_start|im_end|start_of_turn|end_of_turn)\|?>",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_QUESTION = re.compile(
    r"\A(what|which|who|whose|why|how|when|where|is|are|was|did|do|does|can|could|should|in which)\b(?s:.*)\?\W*\Z",
    re.I,
)
_ASKS_FOR_QUESTIONS = re.compile(r"\b(questions?|ask|quiz)\b", re.I)
_LONG = 8
"""Words in a row that nobody repeats by chance."""
_LOOPS = 3


def continuation(completion: Completion) -> str | None:
    """Why a completion is a continuation and no answer, in a few words; None when it is an answer."""
    text = completion.text.strip()
    request = completion.prompt.messages[-1].content if completion.prompt.messages else ""
    if not text:
        return "writes nothing"
    if _TURN.search(text):
        return "writes further turns"
    if _loops(text):
        return "repeats itself"
    if _opens_with(text, request) or _is_copied(text, request):
        return "repeats the request"
    if _asks_on(text, request):
        return "asks further questions"
    return None if completion.finish_reason == "stop" else "does not stop by itself"


def _loops(text: str) -> bool:
    """Whether a line or sentence of several words comes three times."""
    parts = (" ".join(_words(part)) for part in re.split(r"\n|(?<=[.!?])\s", text))
    return any(times >= _LOOPS for part, times in Counter(parts).items() if len(part.split()) > 2)


def _opens_with(text: str, request: str) -> bool:
    """Whether it begins as the request does, for its whole length or `_LONG` words of it."""
    asked = _words(request)[:_LONG]
    return len(asked) > 2 and _words(text)[: len(asked)] == asked


def _is_copied(text: str, request: str) -> bool:
    """Whether it is, word by word, a longer part of the request: the text that something was to be done with."""
    return len(text.split()) >= _LONG and " ".join(text.split()) in " ".join(request.split())


def _asks_on(text: str, request: str) -> bool:
    """Whether it answers a question with nothing but questions, where nobody asked for any."""
    if not _QUESTION.match(request) or _ASKS_FOR_QUESTIONS.search(request):
        return False
    return all(one.rstrip("\"'”").endswith("?") for one in re.split(r"(?<=[.!?])\s+|\n+", text) if _WORD.search(one))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
