"""ROUGE-L by its definition: the whole quadratic table of the longest common subsequence."""

from __future__ import annotations

from collections.abc import Sequence


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a, start=1):
        for j, right in enumerate(b, start=1):
            table[i][j] = table[i - 1][j - 1] + 1 if left == right else max(table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


def f_measure(a: Sequence[str], b: Sequence[str]) -> float:
    common = longest_common_subsequence(a, b)
    if common == 0:
        return 0.0
    recall, precision = common / len(a), common / len(b)
    return 2 * recall * precision / (recall + precision)
