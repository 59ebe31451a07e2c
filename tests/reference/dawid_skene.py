"""Dawid and Skene 1979, one item, annotator and class at a time. Equation numbers are the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Responses = Mapping[str, Mapping[str, Sequence[int]]]
"""What each annotator said of each item, once or several times: by item, by annotator."""


def estimate(
    responses: Responses, classes: Sequence[int], steps: int
) -> tuple[dict[str, list[float]], list[float], float]:
    """P(class) of each item, how common the classes are, and the log-likelihood after so many steps of EM."""
    annotators = sorted({name for said in responses.values() for name in said})
    believed = {item: first_guess(said, classes) for item, said in responses.items()}
    for _ in range(steps):
        common = [sum(believed[item][j] for item in responses) / len(responses) for j in range(len(classes))]  # 2.4
        errors = {name: error_rates(name, responses, believed, classes) for name in annotators}
        log_likelihood = 0.0
        for item, said in responses.items():
            joint = [common[j] * probability(said, errors, j, classes) for j in range(len(classes))]
            believed[item] = [number / sum(joint) for number in joint]  # 2.5
            log_likelihood += math.log(sum(joint))  # 2.7
    return believed, common, log_likelihood


def first_guess(said: Mapping[str, Sequence[int]], classes: Sequence[int]) -> list[float]:
    """The share of all ratings of an item that name the class (3.1)."""
    ratings = [rating for given in said.values() for rating in given]
    return [ratings.count(name) / len(ratings) for name in classes]


def error_rates(
    name: str, responses: Responses, believed: Mapping[str, list[float]], classes: Sequence[int]
) -> list[list[float]]:
    """Of items of a class (row), how often the annotator says each class (2.3)."""
    table = []
    for j in range(len(classes)):
        row = [0.0] * len(classes)
        for item, said in responses.items():
            for rating in said.get(name, ()):
                row[classes.index(rating)] += believed[item][j]
        table.append([cell / sum(row) if sum(row) else 0.0 for cell in row])
    return table


def probability(
    said: Mapping[str, Sequence[int]], errors: Mapping[str, list[list[float]]], j: int, classes: Sequence[int]
) -> float:
    """P(all that was said of an item, given that it is of class j)."""
    product = 1.0
    for name, ratings in said.items():
        for rating in ratings:
            product *= errors[name][j][classes.index(rating)]
    return product
