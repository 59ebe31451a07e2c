"""A style classifier that can be looked into: naive Bayes over character trigrams."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

GRAM = 3
"""Characters of an n-gram: pieces of words and what stands between them, not subjects."""


@dataclass(frozen=True, slots=True)
class StyleClassifier:
    """How much each n-gram speaks for the style, in nats: log p(n-gram | style) - log p(n-gram | other)."""

    weights: Mapping[str, float]

    @classmethod
    def fit(cls, in_style: Sequence[str], others: Sequence[str]) -> StyleClassifier:
        """Learn from texts of both kinds, which count as equally frequent; every n-gram is counted once more in each.

        Source: Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, section 13.2.
        """
        counts = [Counter(gram for text in texts for gram in grams(text)) for texts in (in_style, others)]
        known = set(counts[0]) | set(counts[1])
        totals = [sum(count.values()) + len(known) for count in counts]
        return cls(
            {
                gram: math.log((counts[0][gram] + 1) / totals[0]) - math.log((counts[1][gram] + 1) / totals[1])
                for gram in sorted(known)
            }
        )

    def log_odds(self, text: str) -> float:
        """Nats for the style, below 0 against it. N-grams that were never seen count for nothing."""
        return math.fsum(self.weights.get(gram, 0.0) for gram in grams(text))

    def is_in_style(self, text: str) -> bool:
        """Whether the style is the likelier origin; not so for a text of which nothing is known."""
        return self.log_odds(text) > 0.0

    def telling(self, texts: Iterable[str], most: int) -> tuple[list[str], list[str]]:
        """The n-grams that in these texts spoke most for the style, and most against it."""
        counts = Counter(gram for text in texts for gram in grams(text))
        said = {gram: count * self.weights.get(gram, 0.0) for gram, count in counts.items()}
        order = sorted(said, key=lambda gram: (said[gram], gram))
        return order[::-1][:most], order[:most]


def grams(text: str) -> list[str]:
    """All n-grams of a text, in order, overlapping."""
    return [text[start : start + GRAM] for start in range(len(text) - GRAM + 1)]
