"""Rows to learn from that hold what a model is later measured on.

A prompt that comes again word for word is found by `splits.prompt_key`, one that was changed a little by ROUGE-L, and
one that lies inside a longer text by n-grams: the share of the held-out prompt's words that lie in runs of `ngram`
words which the row has too. 8-grams and a share of a half are what Tülu 3 used (arXiv 2411.15124, section 3.2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.data.filters import ALIKE
from trimtab.data.rouge import Nearest, tokens
from trimtab.data.shapes import Record
from trimtab.data.splits import prompt_key
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

NGRAM, COVERAGE = 8, 0.5
Reason = Literal["same prompt", "n-grams", "ROUGE-L"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """How a row overlaps with held-out data: the number of the held-out prompt, in what way, and how much (0 to 1)."""

    number: int
    reason: Reason
    score: float


class HeldOut:
    """Held-out prompts, and what tells whether a record overlaps with one of them. System messages do not count.

    A prompt shorter than `ngram` words is found by equality and ROUGE-L alone.
    """

    def __init__(
        self, prompts: Iterable[Prompt], *, ngram: int = NGRAM, coverage: float = COVERAGE, rouge: float = ALIKE
    ) -> None:
        self._ngram, self._coverage, self._rouge = ngram, coverage, rouge
        self._numbers: dict[str, int] = {}
        self._lengths: list[int] = []
        self._holders: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)  # n-gram -> (prompt, position)
        self._nearest = Nearest()
        for number, prompt in enumerate(prompts):
            words = tokens(prompt_text(prompt))
            self._numbers.setdefault(prompt_key(_without_system(prompt)), number)
            self._lengths.append(len(words))
            self._nearest.add(prompt_text(prompt))
            for position, run in enumerate(_runs(words, ngram)):
                self._holders[run].append((number, position))

    def __len__(self) -> int:
        return len(self._lengths)

    def find(self, record: Record) -> Overlap | None:
        """The clearest overlap of a record, None when there is none."""
        prompt = record if isinstance(record, Prompt) else record.prompt
        number = self._numbers.get(prompt_key(_without_system(prompt))) if prompt.messages else None
        if number is not None:
            return Overlap(number, "same prompt", 1.0)
        return self._by_ngrams([prompt_text(prompt), *_responses(record)]) or self._by_rouge(prompt_text(prompt))

    def _by_ngrams(self, texts: Sequence[str]) -> Overlap | None:
        """The held-out prompt of which the texts, each by itself, cover the largest share."""
        covered: dict[int, set[int]] = defaultdict(set)
        for run in {run for text in texts for run in _runs(tokens(text), self._ngram)}:
            for number, position in self._holders.get(run, ()):
                covered[number].update(range(position, position + self._ngram))
        shares = ((len(words) / self._lengths[number], -number) for number, words in covered.items())
        share, negated = max(shares, default=(0.0, 0))
        return Overlap(-negated, "n-grams", share) if covered and share >= self._coverage else None

    def _by_rouge(self, text: str) -> Overlap | None:
        match = self._nearest.find(text, above=self._rouge)
        return None if match is None else Overlap(match.number, "ROUGE-L", match.score)


def prompt_text(prompt: Prompt) -> str:
    """What a prompt says, without its system message."""
    return "\n".join(message.content for message in _without_system(prompt).messages)


def _without_system(prompt: Prompt) -> Prompt:
    return Prompt(tuple(message for message in prompt.messages if message.role != "system"))


def _responses(record: Record) -> tuple[str, ...]:
    match record:
        case Comparison():
            return (record.chosen, record.rejected)
        case Ranking():
            return record.responses
        case Demonstration() | Grade():
            return (record.response,)
    return ()


def _runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))
