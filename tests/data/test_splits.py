from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.splits import assert_disjoint, prompt_key, split
from trimtab.errors import DataError
from trimtab.types import Comparison, Demonstration, Message, Prompt

TEXTS = st.lists(st.text(max_size=6), max_size=30)


def prompt(*texts: str) -> Prompt:
    roles = ("user", "assistant")
    return Prompt(tuple(Message(roles[n % 2], text) for n, text in enumerate(texts)))


@given(texts=TEXTS, fraction=st.floats(0, 1), seed=st.integers(0, 3))
def test_parts_are_disjoint_complete_and_in_order(texts, fraction, seed):
    records = [Demonstration(prompt(text), str(n)) for n, text in enumerate(texts)]
    train, validation = split(records, validation_fraction=fraction, seed=seed)
    assert sorted(train + validation, key=lambda d: int(d.response)) == records
    assert [d for d in records if d in train] == train
    assert_disjoint(train, validation)
    assert split(records, validation_fraction=fraction, seed=seed) == (train, validation)


@given(texts=st.lists(st.text("abc", min_size=3, max_size=6), min_size=2, unique=True), fraction=st.floats(0.01, 0.99))
def test_neither_side_is_empty(texts, fraction):
    train, validation = split([prompt(t) for t in texts], validation_fraction=fraction, seed=0)
    assert train
    assert validation


def test_records_stay_where_they_are_when_others_are_added():
    first = [prompt(f"question {n}") for n in range(100)]
    more = first + [prompt(f"other {n}") for n in range(100)]
    _, few = split(first, validation_fraction=0.2, seed=1)
    _, many = split(more, validation_fraction=0.2, seed=1)
    assert [p for p in many if p in first] == few


def test_the_share_is_about_the_fraction_and_depends_on_the_seed():
    prompts = [prompt(f"question {n}") for n in range(1000)]
    _, one = split(prompts, validation_fraction=0.1, seed=1)
    _, two = split(prompts, validation_fraction=0.1, seed=2)
    assert 70 < len(one) < 130  # 100 expected, standard deviation sqrt(1000 * 0.1 * 0.9) = 9.5
    assert one != two


def test_a_side_follows_from_the_hash_of_the_opening():
    prompts = [prompt(f"Question  {n}") for n in range(20)]
    _, validation = split(prompts, validation_fraction=0.2, seed=7)
    expected = []
    for n in range(20):
        key = hashlib.sha256(f'[["user", "question {n}"]]'.encode()).hexdigest()
        if int(hashlib.sha256(f"7:{key}".encode()).hexdigest()[:14], 16) < 0.2 * 16**14:
            expected.append(prompts[n])
    assert validation == expected
    assert expected


def test_turns_of_a_conversation_stay_together():
    turns = [prompt("hi"), prompt("hi", "hello", "more"), prompt(" HI ", "hey", "x")]
    others = [prompt(f"question {n}") for n in range(20)]
    for seed in range(10):
        train, _ = split(turns + others, validation_fraction=0.5, seed=seed)
        assert len([turn for turn in turns if turn in train]) in (0, 3)


def test_plain_texts_are_split_by_text():
    texts = [Demonstration(Prompt(()), f"text {n}") for n in range(50)]
    train, validation = split(texts, validation_fraction=0.5, seed=0)
    assert train
    assert validation


def test_a_shared_prompt_is_quoted():
    one = [Comparison(prompt("Which  category is Coffee?"), "a", "b")]
    with pytest.raises(DataError, match="which category is coffee"):
        assert_disjoint(one, [prompt("which category is coffee?")])


def test_texts_without_prompts_share_none():
    texts = [Demonstration(Prompt(()), "text")]
    assert_disjoint(texts, texts)


def test_prompt_key_sees_roles_and_words_only():
    assert prompt_key(prompt("Café  au\nlait")) == prompt_key(prompt("cafe\u0301 au lait"))
    assert prompt_key(prompt("a", "b")) != prompt_key(prompt("a b"))


def test_a_fraction_out_of_range():
    with pytest.raises(DataError, match="from 0 to 1"):
        split([prompt("a")], validation_fraction=20, seed=0)
