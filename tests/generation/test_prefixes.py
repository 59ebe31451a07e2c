"""Which prompts are read from a common beginning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trimtab.generation.prefixes import LEAST_SHARED, Run, runs

LONG = list(range(100, 100 + LEAST_SHARED))


def test_prompts_that_go_on_from_one_beginning_are_a_run() -> None:
    assert runs([[*LONG, 1, 2], [*LONG, 3], [7, 8]]) == [Run((0, 1), LEAST_SHARED), Run((2,))]


def test_the_same_prompt_twice_keeps_its_last_token_to_predict_from() -> None:
    assert runs([[*LONG, 1], [*LONG, 1]]) == [Run((0, 1), LEAST_SHARED)]


def test_a_prompt_that_is_the_beginning_of_another_keeps_a_token_too() -> None:
    assert runs([[*LONG, 1, 2], [*LONG, 1]]) == [Run((0, 1), LEAST_SHARED)]


def test_a_short_beginning_is_not_worth_reading_by_itself() -> None:
    assert runs([[*LONG[1:], 1], [*LONG[1:], 2]]) == [Run((0, 1))]


def test_less_than_half_is_not_shared() -> None:
    rest = list(range(LEAST_SHARED + 1))
    assert runs([LONG + rest, LONG + rest[::-1]]) == [Run((0, 1))]


def test_runs_keep_the_order_of_the_prompts_where_they_can() -> None:
    shares = [[*LONG, 1], [*LONG, 2]]
    assert runs([[5], shares[0], [4], [6], shares[1], [3]]) == [Run((0,)), Run((1, 4), LEAST_SHARED), Run((2, 3, 5))]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 80), st.lists(st.integers(0, 1), min_size=1, max_size=9)),
        max_size=12,
    )
)
def test_every_prompt_is_in_one_run_and_those_of_a_run_begin_alike(drawn: list[tuple[int, int, list[int]]]) -> None:
    prompts = [[beginning] * length + end for beginning, length, end in drawn]
    found = runs(prompts)
    assert sorted(place for run in found for place in run.prompts) == list(range(len(prompts)))
    for run in found:
        members = [prompts[place] for place in run.prompts]
        assert len({tuple(member[: run.shared]) for member in members}) == 1
        assert all(len(member) > run.shared for member in members)
        if run.shared:
            assert len(members) > 1
            assert run.shared >= LEAST_SHARED
            assert 2 * run.shared >= max(map(len, members))
