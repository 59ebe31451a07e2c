from __future__ import annotations

import random

import pytest

from trimtab.evaluation.votes import Vote
from trimtab.labelling.analysis import (
    analyse,
    first_labels,
    first_votes,
    judgement,
    scales,
)
from trimtab.labelling.records import (
    Answer,
    Compared,
    Graded,
    Item,
    Kind,
    Label,
    LabelledItem,
    Ranked,
    TooHard,
    Turn,
)

RESPONSES: dict[str, tuple[str, ...]] = {"compare": ("long one", "short"), "rank": ("a", "bb", "ccc"), "grade": ("a",)}


def item(name: str = "p", kind: Kind = "compare", **more: object) -> Item:
    return Item(id=name, kind=kind, prompt=(Turn(role="user", content=name),), responses=RESPONSES[kind], **more)  # type: ignore[arg-type]


def entry(of: Item, **answers: Answer | int) -> LabelledItem:
    """An item with these people's answers; a number is a preference."""
    given = {name: Compared(preference=a) if isinstance(a, int) else a for name, a in answers.items()}
    return LabelledItem(item=of, labels=tuple(Label(annotator=name, answer=answer) for name, answer in given.items()))


def ranked(*tiers: tuple[int, ...]) -> Ranked:
    return Ranked(tiers=tiers)


def test_votes_are_those_before_the_critiques() -> None:
    label = Label(annotator="ann", answer=Compared(preference=1), after_aid=Compared(preference=-2))
    assert first_votes([LabelledItem(item=item(), labels=(label,))]) == [Vote(("p", 0, 1), "ann", 1)]


def test_items_with_a_known_answer_are_no_votes() -> None:
    labelled = [entry(item("gold", gold=Compared(preference=1)), ann=1, bo=-1), entry(item("p"), ann=1)]
    assert [vote.question[0] for vote in first_votes(labelled)] == ["p"]
    assert [list(scale.clusters) for scale in scales(labelled)] == [["p"]] * 3


def test_a_person_counts_once_an_item() -> None:
    found = analyse([entry(item("p"), ann=1, bo=1), entry(item("p"), ann=-1, cy=1)])
    assert (found.items, found.labels) == (1, 3)
    assert found.agreement[0].pairwise.value == 1.0


def test_scales_of_every_kind_by_hand() -> None:
    labelled = [
        entry(item("p"), ann=2, bo=1, cy=0, di=TooHard()),
        entry(item("r", "rank"), ann=ranked((0,), (1,), (2,)), bo=ranked((0, 1), (2,))),
        entry(item("g", "grade"), ann=Graded(score=7), bo=Graded(score=6)),
    ]
    found = {scale.name: scale for scale in scales(labelled)}
    assert {name: list(scale.units) for name, scale in found.items()} == {
        "comparisons: first, second": [{"ann": 1, "bo": 1}],
        "comparisons: first, tie, second": [{"ann": 1, "bo": 1, "cy": 0}],
        "comparisons: five levels": [{"ann": 2, "bo": 1, "cy": 0}],
        "rankings, as pairs: first, second": [{"ann": 1}, {"ann": 1, "bo": 1}, {"ann": 1, "bo": 1}],
        "rankings, as pairs: first, tie, second": [{"ann": 1, "bo": 0}, {"ann": 1, "bo": 1}, {"ann": 1, "bo": 1}],
        "grades": [{"ann": 7, "bo": 6}],
    }
    assert list(found["rankings, as pairs: first, second"].clusters) == ["r", "r", "r"]
    assert {name for name, scale in found.items() if scale.binary} == {
        name for name in found if name.endswith(": first, second")
    }


def test_what_a_label_tells_of_its_annotator() -> None:
    # Shown second first; the first, which is longer, is preferred. The known answer agrees.
    gold = Compared(preference=2)
    label = Label(annotator="ann", answer=Compared(preference=1), order=(1, 0), seconds=9.0)
    found = judgement(item(gold=gold), label)
    assert (found.shown_first, found.longer, found.right, found.changed) == ((False,), (True,), True, None)
    assert judgement(item(), label.model_copy(update={"order": ()})).shown_first == ()
    tied = judgement(item(), label.model_copy(update={"answer": Compared(preference=0)}))
    assert (tied.shown_first, tied.longer, tied.right) == ((), (), None)
    hard = judgement(item(gold=gold), label.model_copy(update={"answer": TooHard()}))
    assert (hard.too_hard, hard.right) == (True, False)


def test_what_a_ranking_tells_of_its_annotator() -> None:
    # Shown 2, 0, 1; ranked 0, 2, 1. 0 over 1: earlier, shorter. 0 over 2: later, shorter. 2 over 1: earlier, longer.
    label = Label(annotator="ann", answer=ranked((0,), (2,), (1,)), order=(2, 0, 1))
    found = judgement(item(kind="rank"), label)
    assert sorted(zip(found.shown_first, found.longer, strict=True)) == [(False, False), (True, False), (True, True)]


def test_a_vote_changes_when_more_than_its_reason_does() -> None:
    before = Compared(preference=1, reason="shorter")
    label = Label(annotator="ann", answer=before, after_aid=Compared(preference=1, reason="the critique"))
    assert judgement(item(), label).changed is False
    assert judgement(item(), label.model_copy(update={"after_aid": Compared(preference=2)})).changed is True
    ranking = Label(annotator="ann", answer=ranked((0, 1), (2,)), after_aid=ranked((1, 0), (2,)))
    assert judgement(item(kind="rank"), ranking).changed is False


def simulated(items: int, seed: int) -> list[LabelledItem]:
    """Two votes an item of people who are right in 85 %, and a third where they disagree, as a project asks for."""
    rng = random.Random(seed)
    labelled = []
    for number in range(items):
        names = rng.sample(["ann", "bo", "cy", "di"], 3)
        given = {name: 1 if rng.random() < 0.85 else -1 for name in names}
        if given[names[0]] == given[names[1]]:
            del given[names[2]]
        labelled.append(entry(item(str(number)), **given))
    return labelled


def test_votes_asked_for_because_others_disagreed_do_not_lower_agreement() -> None:
    # Two who are right in 85 % agree in 0.85² + 0.15² = 74.5 %. Counting the third vote, the disagreeing quarter of the
    # items has three pairs each, of which one agrees: (0.745 + 0.255) / (0.745 + 3 x 0.255) = 66 %.
    labelled = simulated(1000, seed=2)
    first, every = (analyse(labelled, first=number).agreement[0].pairwise for number in (2, None))
    assert first.low < 0.745 < first.high
    assert every.value == pytest.approx(0.66, abs=0.03)
    assert [len(one.labels) for one in first_labels(labelled, 2)] == [2] * 1000


def test_an_analysis_of_everything() -> None:
    rng = random.Random(2)
    people = {f"person-{number}": {"age": "old" if number < 6 else "young"} for number in range(12)}
    labelled = [
        entry(item(str(number)), **{name: rng.choice([-2, -1, 0, 1, 2]) for name in people}) for number in range(8)
    ]
    labelled.append(entry(item("gold", gold=Compared(preference=1)), **dict.fromkeys(people, 1)))
    labelled.append(entry(item("quiz", gold=Compared(preference=1), is_quiz=True), **dict.fromkeys(people, -1)))
    found = analyse(labelled, people, {"age": {"old": 0.3, "young": 0.7}})
    assert (found.items, found.labels, len(found.annotators)) == (9, 9 * 12, 12)
    assert [row.pairwise.n for row in found.agreement] == [8, 8, 8]
    assert all(one.gold is not None and one.gold.value == 1.0 for one in found.annotators)
    assert [row.people for row in found.representation["age"].rows] == [6, 6]
    assert found.groups["age"].questions == 8


def test_groups_are_those_the_table_of_the_pool_shows() -> None:
    # If groups came apart where the pool's table merges with a value nobody has, the two would tell that nobody has it.
    people = {f"person-{number}": {"age": "old" if number < 6 else "young"} for number in range(12)}
    labelled = [entry(item(), **dict.fromkeys(people, 1))]
    found = analyse(labelled, people, {"age": {"old": 0.3, "young": 0.6, "child": 0.1}})
    names = {row.value for row in found.representation["age"].rows}
    assert names == {"old", "child or young"} or names == {"young", "child or old"}
    assert {group.name for group in found.groups["age"].groups} == names


def test_an_analysis_of_no_labels() -> None:
    found = analyse([entry(item())])
    assert (found.items, found.labels, found.agreement, found.everyone, found.annotators) == (0, 0, (), None, ())
