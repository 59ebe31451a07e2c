"""Random items and labels, of every kind, that fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from trimtab.labelling.records import (
    MOST_RESPONSES,
    NUM_RESPONSES,
    Compared,
    Graded,
    Item,
    Label,
    LabelledItem,
    Ranked,
    RedTeamed,
    TooHard,
    Turn,
    Written,
)

FLAGS = ("fails_instruction", "invented", "harmful", "denigrates", "over_refuses")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SOME_TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
TURNS = st.lists(
    st.builds(Turn, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=TEXT), min_size=1, max_size=3
).map(tuple)


@st.composite
def tiers(draw: Any, number: int) -> tuple[tuple[int, ...], ...]:
    """A ranking with ties of so many responses: a random order, cut at random places."""
    order = draw(st.permutations(range(number)))
    found: list[list[int]] = [[order[0]]]
    for response in order[1:]:
        found += [[]] if draw(st.booleans()) else []
        found[-1].append(response)
    return tuple(map(tuple, found))


def answers(kind: str, num_responses: int) -> st.SearchStrategy[Any]:
    """Answers to an item of a kind, some too hard."""
    strategies: dict[str, st.SearchStrategy[Any]] = {
        "compare": st.builds(Compared, preference=st.integers(-2, 2), both_bad=st.booleans(), reason=TEXT),
        "rank": st.builds(Ranked, tiers=tiers(max(num_responses, 1)), reason=TEXT),
        "grade": st.builds(
            Graded,
            score=st.integers(1, 7),
            flags=st.lists(st.sampled_from(FLAGS), unique=True).map(tuple),
            reason=TEXT,
        ),
        "demonstrate": st.builds(Written, kind=st.just("demonstrate"), text=SOME_TEXT, reason=TEXT),
        "edit": st.builds(Written, kind=st.just("edit"), text=SOME_TEXT, reason=TEXT),
        "red_team": st.builds(
            RedTeamed, severity=st.integers(0, 4), turns=TURNS.map(lambda turns: (*turns, turns[0])), reason=TEXT
        ),
    }
    return st.one_of(strategies[kind], st.builds(TooHard, reason=TEXT))


@st.composite
def labelled_items(draw: Any, kinds: Sequence[str] = tuple(NUM_RESPONSES)) -> LabelledItem:
    """An item of any of these kinds with labels of up to three people."""
    kind = draw(st.sampled_from(kinds))
    allowed = NUM_RESPONSES[kind]
    number = draw(st.integers(allowed.start, min(allowed.stop - 1, MOST_RESPONSES)))
    gold = draw(st.none() | answers(kind, number)) if kind in ("compare", "rank", "grade") else None
    several = st.just(()) | st.lists(TEXT, min_size=number, max_size=number).map(tuple)
    item = Item(
        id=draw(TEXT),
        kind=kind,
        prompt=draw(TURNS),
        responses=draw(st.lists(TEXT, min_size=number, max_size=number).map(tuple)),
        sources=draw(several),
        critiques=draw(several),
        gold=gold,
        is_quiz=gold is not None and draw(st.booleans()),
        explanation=draw(TEXT),
    )
    label = st.builds(
        Label,
        answer=answers(kind, number),
        after_aid=st.none() | answers(kind, number),
        annotator=TEXT,
        order=st.just(()) | st.permutations(range(number)).map(tuple),
        guidelines=st.integers(0, 9),
        seconds=st.floats(0, 1e6),
        at=TEXT,
    )
    return LabelledItem(item=item, labels=draw(st.lists(label, max_size=3).map(tuple)))
