from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import DataError
from trimtab.evaluation.groups import Groups, compare_groups
from trimtab.evaluation.representation import pool_cells, read_attributes, read_target, represent, said
from trimtab.evaluation.small_cells import FEWEST, showable
from trimtab.evaluation.statistics import proportion
from trimtab.evaluation.votes import Vote


def pool(**counts: int) -> dict[str, str]:
    """Made-up people, so many of each value."""
    return {f"{value}-{number}": value for value, count in counts.items() for number in range(count)}


def shown(counts: Mapping[str, int]) -> dict[str, int]:
    return {cell.name: cell.people for cell in showable(counts)}


def test_large_cells_are_shown_as_they_are() -> None:
    assert shown({"b": 5, "a": 9}) == {"a": 9, "b": 5}


def test_small_cells_are_merged() -> None:
    assert shown({"a": 9, "b": 3, "c": 2, "d": 7}) == {"a": 9, "d": 7, "b or c": 5}


def test_what_is_merged_is_not_small_either() -> None:
    # c alone would follow from the total, 20 - 9 - 8; so b, the next smallest, is merged with it.
    assert shown({"a": 9, "b": 8, "c": 3}) == {"a": 9, "b or c": 11}
    assert shown({"a": 9, "b": 8, "c": 0}) == {"a": 9, "b or c": 8}


def test_what_everybody_is_is_not_shown() -> None:
    assert shown({"a": 30}) == {}
    assert shown({"a": 30, "b": 4}) == {}
    assert shown({"a": 3, "b": 1}) == {}
    assert shown({}) == {}


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 12)))
def test_no_sum_or_difference_of_cells_is_of_fewer_than_five(counts: dict[str, int]) -> None:
    cells = showable(counts)
    assert all(cell.people >= FEWEST for cell in cells)
    assert all(cell.people == sum(counts[value] for value in cell.values) for cell in cells)
    if cells:
        assert sorted(value for cell in cells for value in cell.values) == sorted(counts)
        assert all(counts[value] >= FEWEST for cell in cells if len(cell.values) == 1 for value in cell.values)
        # Any cells but not all, and the rest of the total: still five people or more on both sides.
        assert all(sum(counts.values()) - cell.people >= FEWEST for cell in cells)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9)))
def test_who_knows_the_rules_cannot_tell_the_number_of_a_merged_value(counts: dict[str, int]) -> None:
    cells = showable(counts)
    for cell in cells:
        if len(cell.values) > 1:
            others = product(range(cell.people + 1), repeat=len(cell.values))
            fitting = [of for of in others if sum(of) == cell.people]
            same = [of for of in fitting if showable({**counts, **dict(zip(cell.values, of, strict=True))}) == cells]
            assert all(len(set(numbers)) > 1 for numbers in zip(*same, strict=True))


def test_merged_values_that_are_as_many_as_can_be_are_merged_further() -> None:
    # With d at 5 no other division of 12 among three would be shown alike: each has 4.
    assert shown({"a": 4, "b": 4, "c": 4, "d": 5}) == {}
    assert shown({"a": 4, "b": 4, "c": 3, "d": 5}) == {"d": 5, "a or b or c": 11}
    assert shown({"a": 4, "b": 4, "c": 4, "d": 5, "e": 20}) == {"e": 20, "a or b or c or d": 17}


def test_a_pool_beside_a_population_by_hand() -> None:
    found = represent(pool(women=12, men=8), {"women": 0.5, "men": 0.5})
    assert found.people == 20
    women, men = found.rows
    assert (women.value, women.people, women.pool, women.target) == ("women", 12, proportion(12, 20), 0.5)
    assert women.difference.value == pytest.approx(0.1)
    assert women.difference.low == pytest.approx(proportion(12, 20).low - 0.5)
    assert men.difference.value == pytest.approx(-0.1)


def test_values_of_the_target_that_nobody_has_are_merged_like_other_small_ones() -> None:
    found = represent(pool(women=12, men=8), {"women": 0.5, "men": 0.4, "other": 0.1})
    assert [(row.value, row.people, row.target) for row in found.rows] == [
        ("women", 12, 0.5),
        ("men or other", 8, pytest.approx(0.5)),
    ]


def test_too_few_people_for_any_number() -> None:
    found = represent(pool(women=3, men=1), {"women": 0.5, "men": 0.5})
    assert (found.people, found.rows) == (None, ())
    found = represent(pool(women=14, men=3), {"women": 0.5, "men": 0.5})
    assert (found.people, found.rows) == (17, ())


def test_what_people_said_of_an_attribute() -> None:
    attributes = {"ann": {"age": "old", "home": "Rome"}, "bo": {"home": "Oslo"}, "cy": {"age": ""}}
    assert said(attributes, "age", ["ann", "bo", "cy", "di"]) == {"ann": "old"}


# Groups ---------------------------------------------------------------------------------------------------------------


def cast(people: Mapping[str, str], preferences: Mapping[str, Mapping[str, float]], seed: int = 0) -> list[Vote]:
    """Everybody votes on every item; `preferences` has each group's probability of preferring the first response."""
    rng = random.Random(seed)
    return [
        Vote((item, 0, 1), person, 1 if rng.random() < by_group[group] else -1)
        for item, by_group in preferences.items()
        for person, group in people.items()
    ]


def compare(votes: list[Vote], people: Mapping[str, str]) -> Groups:
    return compare_groups(votes, people, pool_cells(people))


def test_groups_by_hand() -> None:
    people = pool(old=5, young=6)
    votes = [Vote(("p", 0, 1), person, 1 if group == "old" else -1) for person, group in people.items()]
    found = compare(votes, people)
    young, old = found.groups
    assert [(group.name, group.people, group.first.value) for group in (old, young)] == [
        ("old", 5, 1.0),
        ("young", 6, 0.0),
    ]
    assert old.within is not None
    assert old.across is not None
    assert (old.within.value, old.across.value) == (1.0, 0.0)
    (divided,) = found.divided
    assert divided.gap == 1.0
    assert {name: (share.value, share.n) for name, share in divided.by_group.items()} == {
        "old": (1.0, 5),
        "young": (0.0, 6),
    }
    # Of the 462 ways to deal five and six, one has this gap; of 999 random deals about two.
    assert divided.p_value < 0.012
    assert found.p_value == divided.p_value


def test_groups_that_do_not_differ_look_like_random_ones() -> None:
    people = pool(old=10, young=10)
    p_values = []
    for seed in range(20):
        votes = cast(people, {str(item): {"old": 0.5, "young": 0.5} for item in range(10)}, seed)
        p_values.append(compare(votes, people).p_value)
    assert all(p_value is not None for p_value in p_values)
    assert 0.25 < sum(p_value or 0.0 for p_value in p_values) / 20 < 0.75  # uniform: 0.5 with a deviation of 0.065
    assert sum((p_value or 0.0) < 0.05 for p_value in p_values) <= 4


def test_the_item_that_divides_groups_comes_first() -> None:
    people = pool(old=12, young=12)
    preferences = {str(item): {"old": 0.5, "young": 0.5} for item in range(20)} | {
        "apart": {"old": 0.95, "young": 0.05}
    }
    found = compare(cast(people, preferences), people)
    assert found.questions == 21
    assert len(found.divided) == 10
    assert found.divided[0].question[0] == "apart"
    assert found.divided[0].p_value < 0.05
    assert found.divided[1].p_value > 0.1  # the largest of twenty gaps of nothing


def test_no_number_is_of_fewer_than_five_people() -> None:
    people = pool(old=7, young=6, middle=2)
    votes = [Vote(("p", 0, 1), person, 1) for person in people] + [Vote(("q", 0, 1), "old-0", 1)]
    found = compare(votes, people)
    assert [(group.name, group.people) for group in found.groups] == [("old", 7), ("middle or young", 8)]
    assert found.questions == 1
    small = pool(old=9, young=4)
    assert compare([Vote(("p", 0, 1), person, 1) for person in small], small).groups == ()


def test_an_items_groups_are_hidden_when_the_others_would_follow_by_subtraction() -> None:
    people = pool(old=9, young=8, middle=5)

    def groups_shown(*absent: str, strangers: int = 0) -> set[str]:
        """The item's groups that are shown when these people did not vote on it, and some of no group did."""
        votes = [Vote(("p", 0, 1), name, 1 if name.startswith("old") else -1) for name in people if name not in absent]
        votes += [Vote(("p", 0, 1), f"stranger-{number}", 1) for number in range(strangers)]
        votes += [Vote(("q", 0, 1), name, 0) for name in absent]
        return {name for row in compare(votes, people).divided for name in row.by_group}

    assert groups_shown() == {"old", "young", "middle"}
    # Four of the middle voted: with them young is hidden too, and one group alone is not compared.
    assert groups_shown("middle-0") == set()
    # Three strangers' votes would be the item's minus the three groups'; with the middle hidden they are of eight.
    assert groups_shown(strangers=3) == {"old", "young"}
    assert groups_shown(strangers=5) == {"old", "young", "middle"}


# Tables ---------------------------------------------------------------------------------------------------------------


def test_a_target_is_read(tmp_path: Path) -> None:
    file = tmp_path / "target.csv"
    file.write_text("attribute,value,share\nage,under 40,0.45\nage, 40 or over ,0.55\nhome,town,1\n")
    assert read_target(file) == {"age": {"under 40": 0.45, "40 or over": 0.55}, "home": {"town": 1.0}}


def test_attributes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("annotator,age,home\nann,old,\nbo,young,town\n")
    assert read_attributes(file) == {"ann": {"age": "old"}, "bo": {"age": "young", "home": "town"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no rows"),
        ("attribute,value,share\n", "has no rows"),
        ("attribute,value\nage,old\n", "columns must be attribute,value,share; they are attribute,value"),
        ("attribute,value,share\nage,old\n", "line 2: 2 cells, but the header has 3"),
        ("attribute,value,share\nage,old,half\n", "line 2: a share is a number from 0 to 1, such as 0.51, not 'half'"),
        ("attribute,value,share\nage,old,45\n", "not '45'"),
        ("attribute,value,share\nage,old,nan\n", "not 'nan'"),
        ("attribute,value,share\nage,old,0.5\nage,old,0.5\n", "line 3: age 'old' has a share already"),
        ("attribute,value,share\nage,old,0.5\nage,young,0.4\n", "the shares of age must sum to 1, not 0.9"),
    ],
)
def test_a_target_that_is_none_says_why(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "target.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_target(file)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name,age\nann,old\n", "line 2: needs a column annotator"),
        ("annotator\nann\n", "line 2: needs a column annotator, filled in, and one for each attribute"),
        ("annotator,age\nann,old\nann,young\n", "line 3: 'ann' has a row already"),
    ],
)
def test_attributes_that_are_none_say_why(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_attributes(file)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as CSV: No such file"):
        read_target(tmp_path / "absent.csv")
