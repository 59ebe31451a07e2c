"""Hashes seen before: the same as a dict would say, in a few bytes each."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.files import Place
from trimtab.data.seen import FirstPlaces, Numbering, record_hash
from trimtab.types import Comparison, Grade, Message, Prompt

COFFEE = Prompt((Message("user", "Coffee"),))
# Few different low bits, so that many hashes want the same slot, also over the end of the table.
HASHES = st.lists(st.builds(lambda high, low: (high << 40) + low, st.integers(-5, 5), st.sampled_from([0, 6, 7, 31])))


@given(HASHES)
def test_numbers_follow_first_appearance(hashes):
    numbering, expected = Numbering(), {}
    for value in hashes:
        assert numbering.find(value) == expected.get(value)
        assert numbering.number(value) == expected.setdefault(value, len(expected))
    assert len(numbering) == len(expected)
    assert [numbering.find(value) for value in expected] == list(range(len(expected)))


def test_add_says_whether_a_hash_is_new():
    numbering = Numbering()
    assert [numbering.add(value) for value in (5, 9, 5, 9, 13, 13)] == [True, True, False, False, True, False]


def test_a_hash_takes_few_bytes():
    rng = random.Random(0)
    tracemalloc.start()
    numbering = Numbering()
    for _ in range(100_000):
        numbering.number(rng.getrandbits(63))
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(numbering) == 100_000
    assert size < 2_500_000
    assert peak < 4_000_000


def test_first_places_lie_in_several_files():
    firsts = FirstPlaces()
    places = [Place("a.jsonl", 3), Place("a.jsonl", 9), Place("b.csv", 2), Place("c.json", 1, "item")]
    for value, place in enumerate(places):
        assert firsts.find(value) is None
        assert firsts.first(value, place) == place
    again = Place("c.json", 2, "item")
    assert [firsts.first(value, again) for value in range(4)] == places
    assert [firsts.find(value) for value in range(4)] == places


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Grade(COFFEE, "a", -1.0), Grade(COFFEE, "a", -2.0)),
        (Comparison(COFFEE, "a", "b", margin=-1.0), Comparison(COFFEE, "a", "b", margin=-2.0)),
    ],
)
def test_minus_one_is_not_minus_two(one, other):
    assert hash(-1.0) == hash(-2.0)
    assert record_hash(one) != record_hash(other)


def test_equal_records_have_equal_hashes():
    """A column beside the prompt is no part of a record; 0 and -0 are the same margin."""
    with_id = Prompt(COFFEE.messages, {"id": 7})
    assert record_hash(Comparison(with_id, "a", "b")) == record_hash(Comparison(COFFEE, "a", "b", margin=-0.0))
    assert record_hash(with_id) == record_hash(COFFEE)
