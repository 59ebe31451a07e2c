"""ROUGE-L by hand, against the whole quadratic table, and the nearest of a pool against trying them all."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.rouge import f_measure

from trimtab.data.rouge import Match, Nearest, rouge_l, tokens

TEXTS = st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join)


def test_by_hand() -> None:
    # police killed the gunman / police kill the gunman: LCS is "police the gunman", so 2 * 3 / (4 + 4)
    assert rouge_l("police killed the gunman", "police kill the gunman") == 0.75
    # the gunman kill police: LCS "the gunman", 2 * 2 / 8 (the example of Lin 2004, section 3.2)
    assert rouge_l("police killed the gunman", "the gunman kill police") == 0.5
    assert rouge_l("Name a city.", "name a CITY") == 1.0
    assert rouge_l("a b c d e", "a") == pytest.approx(2 / 6)
    assert rouge_l("", "a") == rouge_l("a", "") == rouge_l("", "") == rouge_l("...", "a") == 0.0


def test_tokens() -> None:
    assert tokens("Don't go_to Café no. 7b!") == ["don", "t", "go", "to", "café", "no", "7b"]


@given(TEXTS, TEXTS)
def test_it_is_what_the_table_gives(a: str, b: str) -> None:
    assert rouge_l(a, b) == pytest.approx(f_measure(a.split(), b.split()), abs=1e-12)


@given(TEXTS, TEXTS)
def test_symmetry_and_bounds(a: str, b: str) -> None:
    assert rouge_l(a, b) == rouge_l(b, a)
    assert 0.0 <= rouge_l(a, b) <= 1.0
    assert (rouge_l(a, b) == 1.0) == (a.split() == b.split() != [])


@given(st.lists(TEXTS, max_size=8), TEXTS, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_the_nearest_is_that_of_trying_all(pool: list[str], text: str, above: float) -> None:
    scores = [f_measure(one.split(), text.split()) for one in pool]
    best = max(scores, default=0.0)
    found = Nearest(pool).find(text, above=above)
    if best <= above + 1e-12:
        assert found is None
    else:
        assert found is not None
        assert found.number == next(n for n, score in enumerate(scores) if score > best - 1e-12)
        assert found.score == pytest.approx(best, abs=1e-12)


def test_a_pool_grows() -> None:
    pool = Nearest(["name a city"])
    pool.add("name a country")
    assert len(pool) == 2
    assert pool.find("name a country in Africa") == Match(1, 0.75)
    assert pool.find("sing") is None


def test_of_several_as_near_the_first_is_found() -> None:
    assert Nearest(["b", "a"]).find("a b") == Match(0, 2 * 1 / 3)


def test_what_is_just_as_near_as_the_limit_is_not_nearer() -> None:
    pool = Nearest(["b a"])  # both words are shared, one of them in order
    assert pool.find("a b", above=0.5) is None
    assert pool.find("a b", above=0.4) == Match(0, 0.5)


def test_a_pool_of_thousands_is_looked_through_in_moments() -> None:
    random = Random(0)
    words = [f"w{int(random.paretovariate(0.7))}" for _ in range(100_000)]  # few words are most of a text

    def text() -> str:
        start = random.randrange(len(words) - 30)
        return " ".join(words[start : start + random.randrange(5, 30)])

    pool = Nearest(text() for _ in range(5000))
    before = time.perf_counter()
    for _ in range(16):
        pool.find(text())
    assert time.perf_counter() - before < 5
