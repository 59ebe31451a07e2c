"""Whether a model copies: runs of words that stand, word for word, in the text it learnt from."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

RUN = 8
"""Words of a run that counts as copied."""
_SHORTEST = 4
"""Shorter runs than this are not looked for: everybody says "and in the"."""


def runs_in_common(samples: Sequence[Sequence[str]], text: Iterable[str]) -> list[list[int]]:
    """For each word of each sample, the length of the longest run ending there that stands in the text.

    A run shorter than 4 words counts 0. The text is gone through once and not kept. If sample word i and a word of the
    text end a run of n words, then word i + 1 and the text's next one, when equal, end one of n + 1.
    """
    longest = [[0] * len(words) for words in samples]
    ends: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for sample, words in enumerate(samples):
        for end in range(_SHORTEST, len(words) + 1):
            ends[tuple(words[end - _SHORTEST : end])].append((sample, end - 1))
    window: deque[str] = deque(maxlen=_SHORTEST)
    running: dict[tuple[int, int], int] = {}
    for word in text:
        window.append(word)
        running = {
            (sample, place): running.get((sample, place - 1), _SHORTEST - 1) + 1
            for sample, place in ends.get(tuple(window), ())
        }
        for (sample, place), length in running.items():
            longest[sample][place] = max(longest[sample][place], length)
    return longest


def copied(longest: Sequence[int]) -> list[bool]:
    """Of each run of 8 words of a sample, whether it stands in the text; none for fewer words."""
    return [length >= RUN for length in longest[RUN - 1 :]]


def words_of(stretches: Iterable[str]) -> Iterator[str]:
    """The words of a text that comes in stretches, which may be cut inside a word."""
    begun = ""
    for stretch in stretches:
        words = (begun + stretch).split()
        begun = words.pop() if words and not stretch[-1:].isspace() else ""
        yield from words
    if begun:
        yield begun
