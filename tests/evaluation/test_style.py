"""The style classifier and the search for copied words, by hand and against slow oracles."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trimtab.evaluation.overlap import copied, runs_in_common, words_of
from trimtab.evaluation.style import StyleClassifier, grams


def test_the_weights_are_those_of_naive_bayes() -> None:
    """In style: abc twice, bcd once; others: abc once, xyz once. Four n-grams... three known: abc, bcd, xyz.

    log p(abc | style) = log (2 + 1) / (3 + 3), log p(abc | others) = log (1 + 1) / (2 + 3), and so on.
    """
    classifier = StyleClassifier.fit(["abcd", "abc"], ["abc", "xyz"])
    expected = {
        "abc": math.log((3 / 6) / (2 / 5)),
        "bcd": math.log((2 / 6) / (1 / 5)),
        "xyz": math.log((1 / 6) / (2 / 5)),
    }
    assert dict(classifier.weights) == pytest.approx(expected)
    assert classifier.log_odds("abcd xyz") == pytest.approx(sum(expected.values()))  # the others are unknown
    assert classifier.is_in_style("bcd")
    assert not classifier.is_in_style("xyz")
    assert not classifier.is_in_style("never seen")
    assert not classifier.is_in_style("")
    assert grams("ab") == []


def test_styles_that_can_be_told_apart_are() -> None:
    """Two made-up languages of the same letters: one doubles its vowels, one its consonants."""
    rng = random.Random(3)

    def text(doubled: str) -> str:
        letters = [rng.choice("aeiou" if place % 2 else "bdgklmnprst") for place in range(200)]
        return "".join(letter * (2 if (letter in "aeiou") == (doubled == "vowels") else 1) for letter in letters)

    classifier = StyleClassifier.fit([text("vowels") for _ in range(20)], [text("consonants") for _ in range(20)])
    assert all(classifier.is_in_style(text("vowels")) for _ in range(50))
    assert not any(classifier.is_in_style(text("consonants")) for _ in range(50))
    speaks_for, speaks_against = classifier.telling([text("vowels"), text("consonants")], 5)
    assert all(any(v * 2 in gram for v in "aeiou") for gram in speaks_for)
    assert all(any(c * 2 in gram for c in "bdgklmnprst") for gram in speaks_against)


def test_runs_by_hand() -> None:
    text = ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question", "whether"]
    sample = ["not", "to", "be", "that", "was", "the", "question", "not", "to", "be", "that", "is", "the"]
    (found,) = runs_in_common([sample], text)
    assert found == [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 4, 5, 6]


def oracle(sample: list[str], text: list[str]) -> list[int]:
    """Every length at every place, tried one by one."""
    stretches = {tuple(text[a:b]) for a in range(len(text)) for b in range(a + 4, len(text) + 1)}
    return [
        max((n for n in range(4, end + 1) if tuple(sample[end - n : end]) in stretches), default=0)
        for end in range(1, len(sample) + 1)
    ]


WORDS = some.lists(some.sampled_from("abc"), max_size=16)


@given(some.lists(WORDS, max_size=3), WORDS)
def test_runs_are_those_of_the_oracle(samples: list[list[str]], text: list[str]) -> None:
    assert runs_in_common(samples, iter(text)) == [oracle(sample, text) for sample in samples]


def test_runs_of_eight_words_count_as_copied() -> None:
    assert copied([0, 0, 0, 4, 5, 6, 7, 8, 9, 0, 7]) == [True, True, False, False]
    assert copied([0, 0, 0, 4, 5, 6, 7]) == []


@given(some.text(alphabet="ab \n", max_size=30), some.integers(1, 5))
def test_words_are_the_same_however_a_text_is_cut(text: str, size: int) -> None:
    assert list(words_of(text[at : at + size] for at in range(0, len(text), size))) == text.split()
