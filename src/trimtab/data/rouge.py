"""ROUGE-L: how much of two texts is the same words in the same order (Lin, 2004)."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+")


def rouge_l(first: str, second: str) -> float:
    """F-measure of the longest common subsequence of words, from 0 to 1; 0 when one text has no word."""
    one, two = _WORD.findall(first.lower()), _WORD.findall(second.lower())
    return 2 * _common(one, two) / (len(one) + len(two)) if one and two else 0.0


def _common(one: list[str], two: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(two) + 1)
    for word in one:
        corner = 0
        for place, other in enumerate(two, start=1):
            corner, row[place] = row[place], corner + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
