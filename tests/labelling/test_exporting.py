from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labelling.strategies import labelled_items
from tests.labelling.world import question

from trimtab.data.formats import read, read_comparisons, read_demonstrations
from trimtab.data.shapes import find_shape
from trimtab.errors import DataError, LabellingError
from trimtab.evaluation.aggregation import dawid_skene, majority, vote_share
from trimtab.evaluation.votes import Vote
from trimtab.labelling import exporting
from trimtab.labelling.aggregating import aggregation
from trimtab.labelling.argilla_export import NOT_A_USER, OTHER_NUMBER, TIES, write_argilla
from trimtab.labelling.importing import open_source
from trimtab.labelling.judgements import votes_of
from trimtab.labelling.label_studio_export import interface, write_label_studio
from trimtab.labelling.records import (
    Answer,
    Compared,
    Graded,
    Item,
    Kind,
    Label,
    LabelledItem,
    Ranked,
    RedTeamed,
    TooHard,
    Turn,
    Written,
)
from trimtab.types import Comparison, Grade, Message, Prompt, Ranking

PAIR = Item(id="pair", kind="compare", prompt=question("p"), responses=("a", "b"))
THREE = Item(id="three", kind="rank", prompt=question("q"), responses=("a", "b", "c"))
TURNS = (Turn(role="user", content="p"), Turn(role="assistant", content="r"), Turn(role="user", content="s"))
USER = Prompt((Message("user", "p"),))


def by(item: Item, *answers: Answer, **more: Any) -> LabelledItem:
    """Answers by a, b, c and so on."""
    names = "abcdefghijklmno"
    labels = [Label(annotator=name, answer=answer, **more) for name, answer in zip(names, answers, strict=False)]
    return LabelledItem(item=item, labels=tuple(labels))


def votes(*preferences: int) -> LabelledItem:
    return by(PAIR, *(Compared(preference=preference) for preference in preferences))


def rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# Comparisons ----------------------------------------------------------------------------------------------------------


def test_comparisons_keep_every_vote(tmp_path: Path) -> None:
    path = tmp_path / "comparisons.jsonl"
    summary = exporting.write_comparisons([votes(-1, -2, 0, 1)], path)
    # a, b and c say b, b and a tie, d says a: 2.5 of 4 votes for b
    assert list(read_comparisons(path)) == [
        Comparison(USER, "b", "a", 0.625, annotators=("a", "b", "c", "d"), votes=(1.0, 1.0, 0.5, 0.0))
    ]
    assert summary == {"rows": 1, "exported": {"compare": 4}, "left_out": {}, "both_bad": 0}


def test_a_ranking_is_votes_on_all_its_pairs(tmp_path: Path) -> None:
    path = tmp_path / "comparisons.jsonl"
    entry = by(THREE, Ranked(tiers=((2,), (0, 1))), Ranked(tiers=((0,), (1,), (2,))))
    exporting.write_comparisons([entry], path)
    found = {(pair.chosen, pair.rejected): pair.probability for pair in read_comparisons(path)}
    # a-b: a tie and a vote for a; a-c and b-c: one vote each way
    assert found == {("a", "b"): 0.75, ("a", "c"): 0.5, ("b", "c"): 0.5}


def test_the_second_vote_counts_and_the_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "comparisons.jsonl"
    entry = by(PAIR, Compared(preference=1), after_aid=Compared(preference=-1), guidelines=3)
    exporting.write_comparisons([entry], path)
    (pair,) = read_comparisons(path)
    assert (pair.chosen, pair.instructions_version) == ("b", "3")


def test_nothing_is_lost_silently(tmp_path: Path) -> None:
    quiz = PAIR.model_copy(update={"id": "quiz", "gold": Compared(preference=1), "is_quiz": True})
    same = PAIR.model_copy(update={"id": "same", "responses": ("a", "a")})
    silent = PAIR.model_copy(update={"id": "silent", "responses": ("a", " ")})
    graded = Item(kind="grade", prompt=question("p"), responses=("a",))
    both_bad = Compared(preference=0, both_bad=True)
    labelled = [
        by(PAIR, Compared(preference=1), both_bad, TooHard()),
        by(quiz, Compared(preference=1)),
        by(PAIR.model_copy(update={"id": "gold", "gold": Compared(preference=1)}), Compared(preference=1)),
        by(same, both_bad, both_bad),
        by(silent, TooHard()),
        by(graded, Graded(score=3)),
    ]
    path = tmp_path / "comparisons.jsonl"
    summary = exporting.write_comparisons(labelled, path)
    assert summary == {
        "rows": 1,
        "exported": {"compare": 2},
        "left_out": {
            "too hard to judge": 1,
            "on items with a known answer, which check people": 2,
            "on items with two responses that are the same text": 2,
            "on items with an empty response": 1,
            "of kind grade, which this format cannot hold": 1,
        },
        "both_bad": 1,
    }
    (pair,) = read_comparisons(path)
    assert pair.probability == 0.75


@pytest.mark.parametrize(
    ("aggregate", "margins", "probability", "margin"),
    [
        (majority, False, 1.0, None),
        (majority, True, 1.0, 0.25),
        (vote_share, True, 0.75, 0.25),
    ],
)
def test_an_aggregation_gives_the_probability(
    tmp_path: Path, aggregate: Any, margins: bool, probability: float, margin: float | None
) -> None:
    path = tmp_path / "comparisons.jsonl"
    # Three votes for a, of which two say by far, and one for b by far: (2 - 1) / 4 = 0.25.
    exporting.write_comparisons([votes(2, 2, 1, -2)], path, aggregate=aggregate, margins=margins)
    (row,) = rows(path)
    assert row.get("margin") == margin
    (pair,) = read_comparisons(path)
    assert pair == Comparison(USER, "a", "b", probability, margin or 0.0, annotators=("a", "b", "c", "d"))


def test_dawid_and_skenes_probabilities_are_those_of_the_module(tmp_path: Path) -> None:
    path = tmp_path / "comparisons.jsonl"
    labelled = [
        by(PAIR.model_copy(update={"id": str(n)}), *(Compared(preference=p) for p in preferences))
        for n, preferences in enumerate([(1, 1, -1), (-1, -1, 1), (1, 1, 1), (-1, -1, 1), (1, 0, -1)])
    ]
    exporting.write_comparisons(labelled, path, aggregate=aggregation("dawid-skene"))
    expected = dawid_skene(votes_of(labelled))
    for row in rows(path):
        first = expected[row["item"], 0, 1]
        assert math.isclose(row["probability"], max(first, 1 - first))
        assert row["chosen"] == ("a" if first >= 0.5 else "b")


def test_balanced_weighs_groups_the_same(tmp_path: Path) -> None:
    path = tmp_path / "comparisons.jsonl"
    groups = dict.fromkeys("abcdefghij", "old") | dict.fromkeys("klmno", "young")
    cast = votes(*[1] * 10, *[-1] * 5)
    exporting.write_comparisons([cast], path, aggregate=aggregation("balanced", groups=groups))
    (row,) = rows(path)
    assert (row["probability"], row["annotators"]) == (0.5, list("abcdefghijklmno"))
    exporting.write_comparisons([votes(1, 1, -1)], path, name_votes=False)  # or groups would follow from the votes
    (row,) = rows(path)
    assert set(row) == {"prompt", "chosen", "rejected", "probability", "item"}
    with pytest.raises(LabellingError, match="only where annotators say which they are of, and nobody has"):
        aggregation("balanced", groups={})
    with pytest.raises(LabellingError, match="there is no aggregation 'mean'; there are soft, majority"):
        aggregation("mean")


def test_no_group_of_fewer_than_five_voters_is_balanced(tmp_path: Path) -> None:
    """Five say they are young, but o has not voted: the four others would weigh as much as ten."""
    groups = dict.fromkeys("abcdefghij", "old") | dict.fromkeys("klmno", "young")
    by_groups = aggregation("balanced", groups=groups)
    with pytest.raises(LabellingError, match="only between groups of at least 5 people") as refused:
        exporting.write_comparisons([votes(*[1] * 10, *[-1] * 4)], tmp_path / "c.jsonl", aggregate=by_groups)
    assert "young" not in str(refused.value)
    assert not (tmp_path / "c.jsonl").exists()


def test_votes_are_named_by_their_item_and_responses() -> None:
    labelled = [votes(2), by(THREE, Ranked(tiers=((1, 2), (0,)))), by(PAIR, TooHard())]
    assert votes_of(labelled) == [
        Vote(("pair", 0, 1), "a", 2),
        Vote(("three", 0, 1), "a", -1),
        Vote(("three", 0, 2), "a", -1),
        Vote(("three", 1, 2), "a", 0),
    ]


# TRL ------------------------------------------------------------------------------------------------------------------


def test_trl_has_text_columns_for_single_questions(tmp_path: Path) -> None:
    path = tmp_path / "trl.jsonl"
    tied = by(PAIR.model_copy(update={"id": "tied"}), Compared(preference=1), Compared(preference=-1))
    summary = exporting.write_trl([votes(-1, -1, 1), tied], path)
    assert rows(path) == [{"prompt": "p", "chosen": "b", "rejected": "a"}]
    assert summary["exported"] == {"compare": 3}
    assert summary["left_out"] == {"tied, and one of two columns must be the chosen one": 2}


def test_trl_is_conversational_throughout_if_any_prompt_has_turns(tmp_path: Path) -> None:
    path = tmp_path / "trl.jsonl"
    longer = PAIR.model_copy(update={"id": "longer", "prompt": TURNS})
    exporting.write_trl([votes(1), by(longer, Compared(preference=-1))], path)
    single, several = rows(path)
    assert single == {
        "prompt": [{"role": "user", "content": "p"}],
        "chosen": [{"role": "assistant", "content": "a"}],
        "rejected": [{"role": "assistant", "content": "b"}],
    }
    assert [message["content"] for message in several["prompt"]] == ["p", "r", "s"]
    assert [pair.chosen for pair in read_comparisons(path)] == ["a", "b"]


# Rankings, grades, demonstrations, dialogues --------------------------------------------------------------------------


def test_rankings_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rankings.jsonl"
    tiers = ((2,), (0, 1))
    summary = exporting.write_rankings([by(THREE, Ranked(tiers=tiers), TooHard(), guidelines=1), votes(1)], path)
    assert rows(path)[0]["ranking"] == [2, [0, 1]]
    dataset = read(path)
    prompt = Prompt((Message("user", "q"),))
    assert list(dataset) == [Ranking(prompt, ("a", "b", "c"), tiers, annotator="a", instructions_version="1")]
    assert summary["left_out"] == {
        "too hard to judge": 1,
        "of kind compare, which this format cannot hold": 1,
    }


def test_grades_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "grades.jsonl"
    graded = [
        by(Item(kind="grade", prompt=question("p"), responses=(text,)), Graded(score=score, flags=("harmful",)))
        for text, score in (("a", 2), ("b", 7))
    ]
    exporting.write_grades(graded, path)
    assert list(read(path)) == [Grade(USER, "a", 2.0, "a"), Grade(USER, "b", 7.0, "a")]
    assert [(pair.chosen, pair.margin) for pair in read_comparisons(path)] == [("b", 2.0)]  # 5 points, deviation 2.5
    assert rows(path)[0]["flags"] == ["harmful"]


def test_demonstrations_of_writing_and_editing_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.jsonl"
    written = by(Item(kind="demonstrate", prompt=TURNS), Written(kind="demonstrate", text="new"))
    edited = by(Item(kind="edit", prompt=question("p"), responses=("a",)), Written(kind="edit", text="better"))
    summary = exporting.write_demonstrations([written, edited], path)
    found = [(len(one.prompt.messages), one.response) for one in read_demonstrations(path)]
    assert found == [(3, "new"), (1, "better")]
    assert summary["exported"] == {"demonstrate": 1, "edit": 1}


def test_red_team_dialogues_are_nothing_a_stage_learns_from(tmp_path: Path) -> None:
    path = tmp_path / "red-team.jsonl"
    entry = by(Item(kind="red_team", prompt=question("goal")), RedTeamed(severity=3, turns=TURNS))
    exporting.write_red_team([entry], path)
    (row,) = rows(path)
    assert row["dialogue"] == [turn.model_dump() for turn in TURNS]
    assert (row["severity"], row["goal"], row["annotator"]) == (3, "goal", "a")
    assert find_shape(row) is None


@pytest.mark.parametrize(
    ("write", "labelled", "expected"),
    [
        (exporting.write_comparisons, [], "There is nothing to export: no labels"),
        (
            exporting.write_grades,
            [votes(1, 1)],
            "Labels left out:\n  2: of kind compare, which this format cannot hold",
        ),
        (exporting.write_trl, [votes(0)], "1: tied, and one of two columns must be the chosen one"),
        (write_argilla, [], "There is nothing to export: no items"),
        (
            write_argilla,
            [votes(1), by(THREE)],
            r"items of several kinds \(1 compare, 1 rank\). Choose one: --kind compare",
        ),
        (write_label_studio, [by(Item(kind="red_team"))], "Items of kind red_team cannot be shown there"),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(
    tmp_path: Path, write: Callable[..., Any], labelled: list[LabelledItem], expected: str
) -> None:
    with pytest.raises(LabellingError, match=expected):
        write(labelled, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(labelled_items(), min_size=1, max_size=4, unique_by=lambda one: one.item.key))
def test_every_label_is_counted_once(tmp_path_factory: pytest.TempPathFactory, labelled: Any) -> None:
    folder = tmp_path_factory.mktemp("out")
    for number, write in enumerate((exporting.write_comparisons, exporting.write_trl, exporting.write_grades)):
        try:
            summary = write(labelled, folder / str(number))
        except LabellingError:
            continue
        counted = sum(summary["exported"].values()) + sum(summary["left_out"].values())
        assert counted == sum(len(one.labels) for one in labelled)


# Argilla --------------------------------------------------------------------------------------------------------------

ANN, BO = "0b6ad33a-1e0d-4a8f-8e5e-6d1d5d5b2f01", "6b7ad33a-1e0d-4a8f-8e5e-6d1d5d5b2f02"
EDIT = Item(id="edit", kind="edit", prompt=TURNS, responses=("a",))
GRADE = Item(id="grade", kind="grade", prompt=question("p"), responses=("a",))
WRITE = Item(id="write", kind="demonstrate", prompt=question("p"))


def users(item: Item, *answers: Answer) -> LabelledItem:
    """Answers by users of Argilla's."""
    return LabelledItem(
        item=item, labels=tuple(Label(annotator=n, answer=a) for n, a in zip((ANN, BO), answers, strict=False))
    )


SHOWN: list[tuple[Item, tuple[Answer, ...]]] = [
    (PAIR, (Compared(preference=2, reason="clearer"), Compared(preference=0, both_bad=True))),
    (PAIR, (Compared(preference=-1, both_bad=True), TooHard(reason="Latin"))),
    (THREE, (Ranked(tiers=((2,), (0,), (1,)), reason="short"),)),
    (GRADE, (Graded(score=6, flags=("invented", "harmful")), Graded(score=1))),
    (EDIT, (Written(kind="edit", text="better"), Written(kind="edit", text="best"))),
    (WRITE, (Written(kind="demonstrate", text="new", reason="as asked"),)),
]


@pytest.mark.parametrize(("item", "answers"), SHOWN)
def test_argilla_gives_back_what_it_got(tmp_path: Path, item: Item, answers: tuple[Answer, ...]) -> None:
    labelled = users(item, *answers)
    summary = write_argilla([labelled], tmp_path / "argilla", guidelines="Be fair.")
    assert sum(summary["exported"].values()) == len(answers)
    assert list(open_source(tmp_path / "argilla")) == [labelled]


def test_argilla_files_are_as_its_client_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "argilla"
    labelled = users(PAIR, Compared(preference=1), Compared(preference=1))
    write_argilla([labelled], folder, guidelines="Be fair.")
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "records.json", "settings.json"]
    (record,) = json.loads((folder / "records.json").read_text())
    assert record["id"] == "pair"
    assert record["fields"] == {
        "prompt": [{"role": "user", "content": "p"}],
        "response_1": "a",
        "response_2": "b",
    }
    given = {"value": "response_1", "status": "submitted"}
    assert record["responses"] == {"preference": [given | {"user_id": ANN}, given | {"user_id": BO}]}
    assert record["suggestions"] == {
        "preference": {"value": "response_1", "score": 1.0, "agent": "majority of annotators"}
    }
    found = json.loads((folder / "settings.json").read_text())
    assert [(field["name"], field["settings"]["type"]) for field in found["fields"]] == [
        ("prompt", "chat"),
        ("response_1", "text"),
        ("response_2", "text"),
    ]
    assert [(q["name"], q["settings"]["type"], q["required"]) for q in found["questions"]] == [
        ("preference", "label_selection", True),
        ("remarks", "multi_label_selection", False),
        ("reason", "text", False),
    ]


def test_argilla_leaves_out_what_it_cannot_hold_and_says_so(tmp_path: Path) -> None:
    two = Item(id="two", kind="rank", prompt=question("q"), responses=("a", "b"))
    labelled = [
        users(THREE, Ranked(tiers=((2,), (0,), (1,))), Ranked(tiers=((0, 1), (2,)))),
        by(THREE.model_copy(update={"id": "again"}), Ranked(tiers=((0,), (1,), (2,)))),
        users(two, Ranked(tiers=((0,), (1,)))),
    ]
    summary = write_argilla(labelled, tmp_path / "argilla")
    assert summary["left_out"] == {TIES: 1, NOT_A_USER: 1, OTHER_NUMBER: 1}
    assert (summary["rows"], summary["exported"]) == (2, {"rank": 1})
    with pytest.raises(DataError, match="is there already; Argilla's files go into a new folder"):
        write_argilla(labelled, tmp_path / "argilla")


def test_argilla_suggests_the_majority_if_there_is_one(tmp_path: Path) -> None:
    tied = PAIR.model_copy(update={"id": "tied"})
    labelled = [votes(1, 1, -1), by(tied, Compared(preference=1), Compared(preference=-1))]
    write_argilla(labelled, tmp_path / "argilla")
    first, second = json.loads((tmp_path / "argilla" / "records.json").read_text())
    assert first["suggestions"]["preference"]["value"] == "response_1"
    assert first["suggestions"]["preference"]["score"] == pytest.approx(2 / 3)
    assert second["suggestions"] == {}


# Label Studio ---------------------------------------------------------------------------------------------------------

TIED: tuple[Item, tuple[Answer, ...]] = (THREE, (Ranked(tiers=((1, 2), (0,))), TooHard()))


@pytest.mark.parametrize(("item", "answers"), [*SHOWN, TIED])
def test_label_studio_gives_back_what_it_got(tmp_path: Path, item: Item, answers: tuple[Answer, ...]) -> None:
    path = tmp_path / "tasks.json"
    labelled = by(item, *answers, seconds=3.5, at="2026-01-02T03:04:05+00:00")
    summary = write_label_studio([labelled], path)
    assert summary["exported"] == {
        kind: sum(answer.kind == kind for answer in answers) for kind in {answer.kind for answer in answers}
    }
    assert list(open_source(path)) == [labelled]


@pytest.mark.parametrize("kind", ["compare", "rank", "grade", "demonstrate", "edit"])
def test_label_studios_interface_has_what_tasks_refer_to(tmp_path: Path, kind: Kind) -> None:
    item, answers = next((item, answers) for item, answers in [TIED, *SHOWN] if item.kind == kind)
    write_label_studio([by(item, *answers, TooHard(reason="Latin"))], tmp_path / "tasks.json")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    tags = {tag.get("name"): tag for tag in ET.fromstring((tmp_path / "tasks.xml").read_text()).iter()}
    assert (tmp_path / "tasks.xml").read_text() == interface(kind)
    for tag in tags.values():
        shown = (tag.get("value") or "").removeprefix("$")
        assert tag.tag in ("Choice", "View") or not shown or shown in task["data"]
    types = {"choices": "Choices", "rating": "Rating", "ranker": "Ranker", "textarea": "TextArea"}
    for result in (result for annotation in task["annotations"] for result in annotation["result"]):
        control = tags[result["from_name"]]
        assert control.tag == types[result["type"]]
        assert control.get("toName") == result["to_name"]
        assert result["to_name"] in tags
        allowed = {choice.get("value") for choice in control}
        assert control.tag != "Choices" or set(result["value"]["choices"]) <= allowed


@settings(max_examples=100, deadline=None)
@given(labelled_items(kinds=("compare", "rank", "grade", "demonstrate", "edit")))
def test_any_item_comes_back_from_label_studio(tmp_path_factory: pytest.TempPathFactory, drawn: LabelledItem) -> None:
    """As far as its tasks hold it: texts and answers, not orders, sources, critiques or what was known."""
    item = drawn.item
    texts = {"prompt": question(f"p{item.prompt[0].content}"), "responses": tuple(f"r{x}" for x in item.responses)}
    one = LabelledItem(
        item=Item(id="one", kind=item.kind, **texts),
        labels=tuple(label.model_copy(update={"annotator": str(n)}) for n, label in enumerate(drawn.labels)),
    )
    path = tmp_path_factory.mktemp("out") / "tasks.json"
    write_label_studio([one], path)
    (back,) = open_source(path, kind=item.kind)
    assert back.item == one.item
    assert [(x.annotator, in_order(x.answer)) for x in back.labels] == [
        (x.annotator, in_order(x.final)) for x in one.labels
    ]


def in_order(answer: Answer) -> Answer:
    return answer.model_copy(update={"flags": tuple(sorted(answer.flags))}) if isinstance(answer, Graded) else answer
