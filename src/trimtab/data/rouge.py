"""ROUGE-L: how much of two texts is the same words in the same order (Lin 2004, section 2.2).

Tokens are runs of letters and digits after case folding; everything else parts them. On English text that is how the
package rouge-score cuts without its stemmer; letters of other scripts, which it drops, count here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(r"[^\W_]+")


def tokens(text: str) -> list[str]:
    """A text's words, for comparing."""
    return _TOKEN.findall(text.casefold())


def rouge_l(a: str, b: str) -> float:
    """F of two texts, from 0 to 1: 2 LCS / (tokens of a + tokens of b). 0 when one of them has no token.

    Source: Lin 2004, equations 1 to 3 of section 2.2 with beta = 1, where recall and precision are LCS over lengths.
    """
    first, second = tokens(a), tokens(b)
    total = len(first) + len(second)
    return 2 * _longest_common(_places(first), len(first), second) / total if first and second else 0.0


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest of several texts: its number, and ROUGE-L F to it."""

    number: int
    score: float


class Nearest:
    """Finds the text of a growing pool that is nearest to another by ROUGE-L F.

    The words that two texts share, in any order, bound what they share in order. Texts are tried from the highest bound
    down until no bound is above what was found, so the longest common subsequence is computed for few of them.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts: list[list[str]] = []
        self._holders: dict[str, list[tuple[int, int]]] = defaultdict(list)  # word -> (text, how often), ...
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Take a text into the pool. Its number is how many came before it."""
        words = tokens(text)
        for word, count in Counter(words).items():
            self._holders[word].append((len(self._texts), count))
        self._texts.append(words)

    def find(self, text: str, *, above: float = 0.0) -> Match | None:
        """The nearest text, the first of several as near; None when none is nearer than `above`."""
        words = tokens(text)
        places = _places(words)
        best = None
        for number, bound in self._bounds(words):
            if bound <= above or (best is not None and bound < best.score):
                break
            other = self._texts[number]
            score = 2 * _longest_common(places, len(words), other) / (len(words) + len(other))
            if score > above and (best is None or (score, -number) > (best.score, -best.number)):
                best = Match(number, score)
        return best

    def _bounds(self, words: Sequence[str]) -> list[tuple[int, float]]:
        """The texts that share a word, each with what F can be at most, highest first."""
        shared: dict[int, int] = defaultdict(int)
        for word, count in Counter(words).items():
            for number, often in self._holders.get(word, ()):
                shared[number] += min(count, often)
        bounds = ((number, 2 * same / (len(words) + len(self._texts[number]))) for number, same in shared.items())
        return sorted(bounds, key=lambda entry: -entry[1])


def _places(words: Sequence[str]) -> dict[str, int]:
    """For each word the positions it stands at, as the bits of a number."""
    places: dict[str, int] = defaultdict(int)
    for position, word in enumerate(words):
        places[word] |= 1 << position
    return places


def _longest_common(places: Mapping[str, int], length: int, words: Iterable[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time as the bits of one number.

    A bit is 0 where the row grows from one column to the next. Source: Hyyrö 2004, "Bit-parallel LCS-length computation
    revisited", figure 4.
    """
    all_bits = (1 << length) - 1
    row = all_bits
    for word in words:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & all_bits
    return length - row.bit_count()
