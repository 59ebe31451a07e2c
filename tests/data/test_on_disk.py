"""Records on the disk come back as they were, and those of one key come back together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data import on_disk
from trimtab.data.on_disk import Groups, Spool, chunks
from trimtab.types import Message, Prompt


def prompts(count: int) -> list[Prompt]:
    return [Prompt((Message("user", f"é {n}\n" * n),), {"truth": {"n": n}, "id": n}) for n in range(count)]


def test_a_spool_gives_back_what_was_put_in(tmp_path):
    expected = prompts(5)
    spool = Spool(expected, tmp_path)
    assert len(spool) == 5
    assert [spool[n] for n in (3, 0, 4, -1, -5)] == [expected[n] for n in (3, 0, 4, 4, 0)]
    assert [one.meta for one in spool] == [one.meta for one in expected]
    assert spool[1:4:2] == expected[1:4:2]
    spool.append(expected[2])
    assert list(spool) == [*expected, expected[2]]
    for outside in (6, -7):
        with pytest.raises(IndexError):
            spool[outside]
    assert list(tmp_path.iterdir()) == []  # nothing is left when the process is killed


def test_groups_keep_the_order_of_their_first_records():
    words = ["taxi", "coffee", "tea", "coffee", "train", "taxi", "ticket", "cake"]
    groups = Groups(words, key=lambda word: word[0])
    expected = [["taxi", "tea", "train", "taxi", "ticket"], ["coffee", "coffee", "cake"]]
    assert len(groups) == 2
    assert list(groups) == expected
    assert list(groups) == expected


@given(st.lists(st.tuples(st.integers(0, 6), st.integers())))
def test_groups_are_those_of_a_dict(records):
    expected: dict[int, list] = {}
    for record in records:
        expected.setdefault(record[0], []).append(record)
    assert list(Groups(records, key=lambda record: record[0])) == list(expected.values())


def test_keys_that_share_a_hash_stay_apart(monkeypatch):
    monkeypatch.setattr(on_disk, "hash", lambda key: 7, raising=False)
    assert list(Groups(["a1", "b1", "a2"], key=lambda word: word[0])) == [["a1", "a2"], ["b1"]]


def test_chunks():
    assert list(chunks(iter("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(chunks([], 2)) == []
