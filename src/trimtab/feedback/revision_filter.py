"""Which revisions are worth learning from. A small model often copies its draft, an example or the request instead of
revising, so nothing is taken on trust: what fails a rule is dropped, and counted under the rule's name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from trimtab.data.rouge import rouge_l
from trimtab.feedback.constitution import WorkedExample
from trimtab.feedback.revision import Chain, Text
from trimtab.types import Prompt

Scores = Callable[[Sequence[tuple[Prompt, Sequence[str]]]], list[list[float]]]
"""Scores answers to each of several prompts."""

KEPT = ""
UNFINISHED, EMPTY, UNCHANGED = "unfinished", "empty", "hardly changed"
COPIED, ABOUT_ITSELF, REPEATS = "copies an example", "talks of the task", "repeats itself"
OFF_TOPIC, NOT_BETTER = "off topic", "scores no better"

SAME = 0.9
"""ROUGE-L (F) from which a revision is its draft again, or what the person asked."""
FROM_EXAMPLE = 0.5
"""ROUGE-L (F) from which a revision is an example's again."""
FROM_REQUEST = 0.5
"""ROUGE-L (F) from which a revision is a request to criticise or to revise again. One sentence of a request comes to
0.57 and more, a proper refusal to 0.26 at most (16 principles and 279 answers of examples/constitution)."""
_STEM = 5  # letters by which two words are taken for forms of one
_WORD = re.compile(r"[^\W\d_]{4,}")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff]+")  # Thai to Chinese
_COMMON = frozenset(
    """
    about after again also because been before being best between both cannot could does doing dont down each even
    ever every from give have having help here into just know like made make many more most much must need never
    only other over people please really same should since some someone something such sure take tell than that
    their them then there these they thing things this those through want well were what when where which while
    will with without would write your yours
    """.split()  # noqa: SIM905, which would put each word on a line
)
_TASK = re.compile(
    r"\b(the (assistant|critique|revision|draft|principle)|an assistant answered|rewrit"
    r"|what(?: is|['’]s) harmful"
    r"|(the|this) answer (is|was|can|could|does|would|should|may|might))",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"\b(?:no|not|never|cannot|refuse|decline)\b|n['’]t\b", re.IGNORECASE)
_GRAM = 4
LOOPING = 0.2
"""Share of a text's runs of four words that were there before, from which it goes round in circles."""


def verdict(
    prompt: Prompt,
    before: Text,
    after: Text,
    examples: Sequence[WorkedExample],
    requests: Sequence[str],
    *,
    gain: float | None,
    least_gain: float,
) -> str:
    """`KEPT`, or the name of the first rule that a revision fails.

    `requests` are what the principles ask for, critiques and revisions. `gain` is by how much a scorer finds it better
    than the first draft, None where there is no scorer. Where the best of several revisions by that scorer was taken,
    its gain is somewhat too high.
    """
    text = after.text
    if not text:
        return EMPTY
    if after.finish_reason != "stop":
        return UNFINISHED
    if rouge_l(before.text, text) >= SAME:
        return UNCHANGED
    if any(rouge_l(example.revision, text) >= FROM_EXAMPLE for example in examples):
        return COPIED
    if _TASK.search(text) or _repeats_request(text, prompt, requests):
        return ABOUT_ITSELF
    if _repeated(text) >= LOOPING:
        return REPEATS
    asked = _stems(prompt.messages[-1].content)
    if asked and not asked & _stems(text):
        return OFF_TOPIC
    if gain is not None and gain < least_gain:
        return NOT_BETTER
    return KEPT


def pick_best(
    examples: Sequence[WorkedExample],
    requests: Sequence[str],
    scores: Scores,
    chains: Sequence[Chain],
    options: Sequence[Sequence[Text]],
) -> list[Text]:
    """Of the revisions of each chain's answer the one that passes the rules and, among those, scores best; the first if
    none passes."""
    passing = [
        [
            one
            for one in several
            if verdict(chain.prompt, chain.answer, one, examples, requests, gain=None, least_gain=0.0) == KEPT
        ]
        for chain, several in zip(chains, options, strict=True)
    ]
    places = [place for place, several in enumerate(passing) if several]
    found = scores([(chains[place].prompt, [one.text for one in passing[place]]) for place in places])
    best = [several[0] for several in options]
    for place, scored in zip(places, found, strict=True):
        best[place] = passing[place][max(range(len(scored)), key=scored.__getitem__)]
    return best


def _repeats_request(text: str, prompt: Prompt, requests: Sequence[str]) -> bool:
    """Whether a text is nearly what a person asked, or what a principle asks for.

    A short refusal is its request again but for a word or two ("I can't explain ..."), so a text that denies more than
    the person did is none.
    """
    if any(rouge_l(request, text) >= FROM_REQUEST for request in requests):
        return True
    said = [message.content for message in prompt.messages if message.role == "user"]
    return any(rouge_l(one, text) >= SAME and _denials(text) <= _denials(one) for one in said)


def _denials(text: str) -> int:
    return len(_DENIAL.findall(text))


def _repeated(text: str) -> float:
    words = text.lower().split()
    grams = [tuple(words[start : start + _GRAM]) for start in range(len(words) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _stems(text: str) -> set[str]:
    """Beginnings of the words that say what a text is about; of scripts without spaces, all pairs of characters."""
    words = {word[:_STEM] for word in _WORD.findall(_UNSPACED.sub(" ", text.lower())) if word not in _COMMON}
    return words | {run[at : at + 2] for run in _UNSPACED.findall(text) for at in range(len(run) - 1)}
