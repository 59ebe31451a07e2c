from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labelling.strategies import labelled_items
from tests.labelling.world import pair, project

from trimtab.errors import DataError, LabellingError
from trimtab.labelling.data_items import Amount
from trimtab.labelling.importing import import_file, open_source
from trimtab.labelling.labels_file import read_labels, write_labels
from trimtab.labelling.records import Compared, Graded, Item, Label, LabelledItem, Ranked, TooHard, Turn, Written
from trimtab.labelling.settings import Settings
from trimtab.labelling.store import Store


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled(text: str = "question", *, id: str = "", annotators: Sequence[str] = ("ann",)) -> dict[str, Any]:
    prompt = [{"role": "user", "content": text}]
    answer = {"kind": "compare", "preference": 1}
    return {
        "item": {"id": id, "kind": "compare", "prompt": prompt, "responses": ["first", "second"]},
        "labels": [{"annotator": name, "answer": answer} for name in annotators],
    }


def fails(path: Path, **options: Any) -> str:
    with pytest.raises((DataError, LabellingError)) as caught:
        list(open_source(path, **options))
    return str(caught.value)


def empty(folder: Path) -> Store:
    return Store.create(folder / "project", Settings())


# labels.jsonl ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(labelled_items(), min_size=1, max_size=4, unique_by=lambda one: one.item.key))
def test_what_is_written_is_read_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, entries: Any) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    assert write_labels(path, entries) == len(entries)
    assert list(read_labels(path)) == entries


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, [LabelledItem(item=pair(1))])
    before = path.read_bytes()

    def breaks() -> Any:
        yield LabelledItem(item=pair(2))
        raise RuntimeError("the power failed")

    with pytest.raises(RuntimeError):
        write_labels(path, breaks())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.jsonl"]


def test_a_folder_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.jsonl cannot be written: No such file or directory"):
        write_labels(tmp_path / "absent" / "labels.jsonl", [])


def test_errors_name_line_and_field(tmp_path: Path) -> None:
    wrong = labelled("b")
    wrong["labels"][0]["answer"]["preference"] = 3
    unknown, absent, misfit, order = (labelled(text) for text in "cdef")
    unknown["item"]["promt"] = "x"
    del absent["item"]["responses"]
    misfit["labels"][0]["answer"] = {"kind": "grade", "score": 2}
    order["labels"][0]["order"] = [0, 0]
    path = lines(tmp_path / "labels.jsonl", [labelled("a"), wrong, unknown, absent, misfit, order])
    message = fails(path)
    assert message.splitlines() == [
        f"5 of 6 rows of {path} cannot be read as labels.jsonl:",
        f"  {path}, line 2: labels[0].answer.preference: input should be less than or equal to 2",
        f"  {path}, line 3: item.promt: there is no such field",
        f"  {path}, line 4: item: an item of kind compare has 2 responses, not 0",
        f"  {path}, line 5: labels[0].answer: an answer of kind grade to an item of kind compare",
        f"  {path}, line 6: labels[0].order must name each of the 2 responses once",
        "Nothing was taken in. Mend these rows, or leave them out: --skip-bad, in Python skip_bad=True.",
    ]
    assert len(list(open_source(path, skip_bad=True))) == 1


def test_one_id_for_two_items_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    path = lines(tmp_path / "labels.jsonl", [labelled("a", id="7"), labelled("b", id="8"), labelled("b", id="7")])
    assert "line 3: the id '7' was given to another item in line 1; ids are unique" in fails(path)


def test_one_item_on_two_lines_is_one_item_with_the_labels_of_both(tmp_path: Path) -> None:
    rows = [labelled(annotators=["ann"]), labelled(annotators=["bo", "ann"])]
    store = empty(tmp_path)
    found = import_file(store, lines(tmp_path / "labels.jsonl", rows))
    assert (found.format, found.items, found.labels) == ("jsonl", 1, 2)
    assert found.left_out == {"a second answer by the same annotator": 1}
    (one,) = store.labelled_items()
    assert [label.annotator for label in one.labels] == ["ann", "bo"]


def test_a_bad_row_keeps_all_rows_out_of_the_project(tmp_path: Path) -> None:
    store = empty(tmp_path)
    path = lines(tmp_path / "labels.jsonl", [labelled("a"), {"item": {"kind": "compare"}}])
    with pytest.raises(DataError, match="line 2"):
        import_file(store, path)
    assert list(store.labelled_items()) == []
    assert import_file(store, path, skip_bad=True).items == 1


def test_an_item_of_the_project_stays_and_its_id_is_its_own(tmp_path: Path) -> None:
    store = project(tmp_path / "project", [pair(1, id="one")])
    again = labelled("question 1", id="one")
    found = import_file(store, lines(tmp_path / "labels.jsonl", [again, labelled("new")]))
    assert (found.items, found.known_items, found.labels) == (1, 1, 2)
    with pytest.raises(DataError, match="the id 'one' is another item's in this project"):
        import_file(store, lines(tmp_path / "other.jsonl", [labelled("other", id="one")]))
    assert store.counts()["labels"] == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty: there is not one row in it"),
        (b"\n\n", "is empty"),
        (
            json.dumps(labelled()).encode() + b'\n{"item": "\xff"}\n',
            "line 2: not valid UTF-8 (byte 11 of the line is 0xff)",
        ),
        (json.dumps(labelled()).encode() + b'\n{"item\n', "line 2: not valid JSON"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(content)
    assert expected in fails(path)


def test_a_row_beyond_ten_megabytes_is_bad(tmp_path: Path) -> None:
    path = lines(tmp_path / "labels.jsonl", [labelled("a"), labelled("x" * 10_000_001)])
    assert "line 2: the row has 10,000," in fails(path)
    prompts = lines(tmp_path / "prompts.jsonl", [{"prompt": "a"}, {"prompt": "x" * 10_000_001}])
    assert "up to 10,000,000 are read. Shorten or split it" in fails(prompts)


def test_an_unknown_format_names_what_was_found_and_what_is_read(tmp_path: Path) -> None:
    message = fails(lines(tmp_path / "odd.jsonl", [{"alpha": 1, "beta": 2}]))
    assert "Its columns are alpha, beta" in message
    for known in ("votes: prompt, responses, votes", "labels.jsonl (item, labels)", "Argilla", "Label Studio"):
        assert known in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": "xml"}, "there is no format 'xml'; there are jsonl, trl"),
        ({"kind": "sort"}, "there is no kind of item 'sort'; there are compare, rank"),
        ({"kind": "grade"}, "says what it is; no kind"),
        ({"gold": Amount(2)}, "gold items and a quiz are made of data that has no labels yet"),
    ],
)
def test_options_that_do_not_go_with_labels(tmp_path: Path, options: Any, expected: str) -> None:
    assert expected in fails(lines(tmp_path / "labels.jsonl", [labelled()]), **options)


# Data -----------------------------------------------------------------------------------------------------------------

USER = (Turn(role="user", content="p"),)


@pytest.mark.parametrize(
    ("row", "kind", "expected"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "auto", [("compare", ("a", "b"))]),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "rank", [("rank", ("a", "b"))]),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "red_team", [("red_team", ())]),
        ({"prompt": "p", "responses": ["a", "b"], "votes": [{"choice": 1}]}, "auto", [("compare", ("b", "a"))]),
        ({"prompt": "p", "responses": ["a", "b", "c"], "ranking": [2, [0, 1]]}, "auto", [("rank", ("a", "b", "c"))]),
        # all pairs of the order c, a, b
        (
            {"prompt": "p", "responses": ["a", "b", "c"], "ranking": [2, [0, 1]]},
            "compare",
            [("compare", ("c", "a")), ("compare", ("c", "b")), ("compare", ("a", "b"))],
        ),
        (
            {"prompt": "p", "responses": ["a", "b"], "scores": [2, 5]},
            "auto",
            [("grade", ("a",)), ("grade", ("b",))],
        ),
        ({"prompt": "p", "completion": "a", "label": True}, "auto", [("grade", ("a",))]),
        ({"prompt": "p", "completion": "a"}, "auto", [("edit", ("a",))]),
        ({"prompt": "p", "completion": "a"}, "grade", [("grade", ("a",))]),
        ({"prompt": "p"}, "auto", [("demonstrate", ())]),
        ({"prompt": "p"}, "red_team", [("red_team", ())]),
        ({"prompt": "p", "responses": ["a", "b"]}, "auto", [("compare", ("a", "b"))]),
        ({"prompt": "p", "responses": ["a", "b", "c"]}, "auto", [("rank", ("a", "b", "c"))]),
        ({"prompt": "p", "responses": ["a", "b"]}, "grade", [("grade", ("a",)), ("grade", ("b",))]),
    ],
)
def test_items_of_data(tmp_path: Path, row: dict[str, Any], kind: str, expected: Any) -> None:
    source = open_source(lines(tmp_path / "data.jsonl", [row]), kind=kind)
    found = list(source)
    assert [(one.item.kind, one.item.responses) for one in found] == expected
    assert all(one.item.prompt == USER and one.item.gold is None and not one.labels for one in found)


def test_a_rows_id_is_the_items_where_it_gives_one(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b", "id": 7}, {"prompt": "q", "chosen": "a", "rejected": "b"}]
    assert [one.item.id for one in open_source(lines(tmp_path / "data.jsonl", rows))] == ["7", ""]
    twice = lines(tmp_path / "twice.jsonl", [rows[0], rows[1] | {"id": "7"}])
    assert "line 2: the id '7' was given to another item in line 1" in fails(twice)


def test_prompts_alone_are_taken_from_any_data(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert [one.item.kind for one in open_source(path, format="prompts")] == ["demonstrate"]


def test_a_kind_that_data_cannot_become(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", [{"prompt": "p", "completion": "a"}])
    message = fails(path, kind="compare")
    assert "(demonstrations), which cannot become items of kind compare; they can become edit, grade" in message
    path = lines(tmp_path / "data.jsonl", [{"prompt": "p"}])
    assert "line 1: there is no column responses with a list of texts to judge" in fails(path, kind="compare")
    path = lines(tmp_path / "data.jsonl", [{"prompt": "p", "responses": ["a", "b", "c"]}])
    assert "line 1: the column responses must be a list of 2; this row has 3" in fails(path, kind="compare")


def test_a_text_without_a_prompt_is_no_item(tmp_path: Path) -> None:
    assert "line 1: prompt is empty" in fails(lines(tmp_path / "data.jsonl", [{"text": "To be"}]))


def test_columns_are_renamed(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", [{"question": "p", "chosen": "a", "rejected": "b"}])
    (one,) = open_source(path, columns={"prompt": "question"})
    assert one.item.prompt == USER


def test_what_is_beyond_doubt_may_become_gold(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "chosen": "a", "rejected": "b"} for n in range(10)]
    rows += [{"prompt": "p10", "chosen": "a", "rejected": "b", "probability": 0.7}]
    path = lines(tmp_path / "data.jsonl", rows)
    assert all(one.item.gold is None for one in open_source(path))
    found = [one.item for one in open_source(path, gold=Amount.parse("20%"), quiz=Amount.parse("3"), seed=1)]
    assert sum(item.gold is not None and not item.is_quiz for item in found) == 2  # 20 % of the ten that are sure
    assert sum(item.is_quiz for item in found) == 3
    assert {item.gold for item in found} == {None, Compared(preference=1)}
    assert found[10].gold is None
    assert found == [one.item for one in open_source(path, gold=Amount.parse("20%"), quiz=Amount(3), seed=1)]
    assert found != [one.item for one in open_source(path, gold=Amount.parse("20%"), quiz=Amount(3), seed=2)]
    everything = [one.item for one in open_source(path, gold=Amount.parse("all"), quiz=Amount(3))]
    assert sum(item.gold is not None for item in everything) == 10


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "p", "responses": ["a", "b", "c"], "ranking": [2, [0, 1]]}, [Ranked(tiers=((2,), (0, 1)))]),
        ({"prompt": "p", "responses": ["a", "b", "c"], "scores": [2, 5.5, 8]}, [Graded(score=2), None, None]),
        ({"prompt": "p", "completion": "a", "label": True}, [None]),  # true is not the worst grade, 1
        ({"prompt": "p", "responses": ["a", "b"], "votes": [{"choice": 1}, {"choice": 0}]}, [None]),
    ],
)
def test_answers_that_can_be_known_ones(tmp_path: Path, row: dict[str, Any], expected: Any) -> None:
    source = open_source(lines(tmp_path / "data.jsonl", [row]), gold=Amount.parse("all"))
    assert [one.item.gold for one in source] == expected


def test_more_gold_than_there_is(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert "2 gold items and 0 for the quiz are asked for, but only 1 items" in fails(path, gold=Amount(2))


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "%", "some"])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(LabellingError, match="is no amount of items: write a number"):
        Amount.parse(text)


def test_gold_gets_into_a_project_and_out_again(tmp_path: Path) -> None:
    store = empty(tmp_path)
    path = lines(tmp_path / "data.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    import_file(store, path, gold=Amount.parse("all"))
    (one,) = store.labelled_items()
    assert one.item.gold == Compared(preference=1)


# Other tools ----------------------------------------------------------------------------------------------------------

ANN, BO = "0b6ad33a-1e0d-4a8f-8e5e-6d1d5d5b2f01", "6b7ad33a-1e0d-4a8f-8e5e-6d1d5d5b2f02"


def question(name: str, type_: str, *options: Any) -> dict[str, Any]:
    return {"name": name, "settings": {"type": type_, "options": [{"value": option} for option in options]}}


def argilla_folder(folder: Path, record: dict[str, Any], *questions: dict[str, Any]) -> Path:
    """What `rg.Dataset.to_disk` writes."""
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"name": "mine", "status": "ready"}))
    (folder / "settings.json").write_text(json.dumps({"guidelines": None, "fields": [], "questions": questions}))
    whole = {"id": "r1", "metadata": {}, "suggestions": {}, "vectors": {}, "_server_id": "x"} | record
    (folder / "records.json").write_text(json.dumps([whole]))
    return folder


def test_argilla_comparisons(tmp_path: Path) -> None:
    record = {
        "fields": {"prompt": "p", "response_1": "a", "response_2": "b"},
        "responses": {
            "preference": [{"value": "response_2", "user_id": ANN}, {"value": "tie", "user_id": BO}],
            "reason": [{"value": "shorter", "user_id": ANN}],
        },
    }
    asked = [question("preference", "label_selection", "response_1", "response_2", "tie"), question("reason", "text")]
    (one,) = open_source(argilla_folder(tmp_path / "argilla", record, *asked))
    assert one == LabelledItem(
        item=Item(id="r1", kind="compare", prompt=USER, responses=("a", "b")),
        labels=(
            Label(annotator=ANN, answer=Compared(preference=-1, reason="shorter")),
            Label(annotator=BO, answer=Compared(preference=0)),
        ),
    )


@pytest.mark.parametrize(
    "value",
    [
        ["response-3", "response-1", "response-2"],
        [{"rank": 2, "value": "response-1"}, {"rank": 3, "value": "response-2"}, {"rank": 1, "value": "response-3"}],
    ],
)
def test_argilla_rankings_with_and_without_ranks(tmp_path: Path, value: Any) -> None:
    record = {
        "fields": {"prompt": [{"role": "user", "content": "p"}], "answer_1": "a", "answer_2": "b", "answer_3": "c"},
        "responses": {"order": [{"value": value, "user_id": ANN}]},
    }
    asked = question("order", "ranking", "response-1", "response-2", "response-3")
    (one,) = open_source(argilla_folder(tmp_path / "argilla", record, asked))
    assert one.item.responses == ("a", "b", "c")
    assert one.labels[0].answer == Ranked(tiers=((2,), (0,), (1,)))


def test_argilla_ranks_that_are_equal_are_a_tie(tmp_path: Path) -> None:
    value = [{"rank": 1, "value": "response_2"}, {"rank": 2, "value": "response_1"}, {"rank": 1, "value": "response_3"}]
    record = {
        "fields": {"prompt": "p", "response_1": "a", "response_2": "b", "response_3": "c"},
        "responses": {"order": [{"value": value, "user_id": ANN}]},
    }
    (one,) = open_source(argilla_folder(tmp_path / "argilla", record))
    assert one.labels[0].answer == Ranked(tiers=((1, 2), (0,)))


def test_argilla_ratings_texts_drafts_and_discards(tmp_path: Path) -> None:
    record = {
        "fields": {"prompt": "p", "response": "a"},
        "responses": {
            "score": [
                {"value": 6, "user_id": ANN, "status": "submitted"},
                {"value": 2, "user_id": BO, "status": "draft"},
                {"value": 3, "user_id": "cy", "status": "discarded"},
            ],
            "remarks": [
                {"value": ["invented", "harmful"], "user_id": ANN, "status": "submitted"},
                {"value": ["too_hard"], "user_id": "di", "status": "discarded"},
            ],
        },
    }
    asked = [question("score", "rating", 1, 7), question("remarks", "multi_label_selection", "invented", "too_hard")]
    source = open_source(argilla_folder(tmp_path / "argilla", record, *asked))
    (one,) = source
    assert [(label.annotator, label.answer) for label in one.labels] == [
        (ANN, Graded(score=6, flags=("invented", "harmful"))),
        ("di", TooHard()),
    ]
    assert source.left_out == {"draft in Argilla": 1, "discarded in Argilla": 1}


def test_argilla_edits_and_demonstrations(tmp_path: Path) -> None:
    answers = {"text": [{"value": "better", "user_id": ANN}]}
    with_response = {"fields": {"prompt": "p", "response": "a"}, "responses": answers}
    without = {"fields": {"prompt": "p"}, "responses": answers}
    for name, record, kind in (("one", with_response, "edit"), ("two", without, "demonstrate")):
        (one,) = open_source(argilla_folder(tmp_path / name, record, question("text", "text")))
        assert one.labels[0].answer == Written(kind=kind, text="better")


def test_argilla_flattened_as_on_the_hub_with_settings_beside(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    (folder / ".argilla").mkdir(parents=True)
    asked = [question("preference", "label_selection", "response_1", "response_2")]
    (folder / ".argilla" / "settings.json").write_text(json.dumps({"questions": asked}))
    (folder / "data").mkdir()
    row = {
        "id": "r1",
        "status": "completed",
        "_server_id": "x",
        "prompt": "p",
        "response_1": "a",
        "response_2": "b",
        "preference.responses": ["response_1", "response_2"],
        "preference.responses.users": [ANN, BO],
        "preference.responses.status": ["submitted", "draft"],
        "preference.suggestion": None,
    }
    lines(folder / "data" / "train.jsonl", [row])
    for path in (folder, folder / "data" / "train.jsonl"):
        source = open_source(path)
        (one,) = source
        assert source.format == "argilla"
        assert [label.answer for label in one.labels] == [Compared(preference=1)]
        assert source.left_out == {"draft in Argilla": 1}


def test_argilla_one_json_of_settings_and_records(tmp_path: Path) -> None:
    record = {
        "id": "r1",
        "fields": {"prompt": "p", "response_1": "a", "response_2": "b"},
        "responses": {"order": [{"value": ["response_2", "response_1"], "user_id": ANN}]},
    }
    asked = [question("order", "ranking", "response_1", "response_2")]
    path = tmp_path / "argilla.json"
    path.write_text(json.dumps({"settings": {"questions": asked}, "records": [record]}))
    (one,) = open_source(path)
    assert one.labels[0].answer == Ranked(tiers=((1,), (0,)))  # without the settings it would be a set of labels


def test_a_users_second_answer_in_a_file_is_left_out(tmp_path: Path) -> None:
    record = {
        "fields": {"prompt": "p", "response_1": "a", "response_2": "b"},
        "responses": {"preference": [{"value": v, "user_id": ANN} for v in ("response_1", "response_2")]},
    }
    source = open_source(argilla_folder(tmp_path / "argilla", record))
    (one,) = source
    assert [label.answer for label in one.labels] == [Compared(preference=1)]
    assert source.left_out == {"a second answer by the same annotator": 1}


def task(data: dict[str, Any], *results: Any, **more: Any) -> dict[str, Any]:
    annotation = {"id": 9, "completed_by": 4, "was_cancelled": False, "result": list(results), **more}
    return {"id": 1, "data": data, "annotations": [annotation], "predictions": []}


def result(type_: str, value: Any, name: str = "q") -> dict[str, Any]:
    return {"id": "x", "from_name": name, "to_name": "t", "type": type_, "origin": "manual", "value": value}


PAIR = {"prompt": "p", "text1": "a", "text2": "b"}
LIST = {"prompt": "p", "items": [{"id": "mdn", "title": "a"}, {"id": "wiki", "body": "b"}, {"id": "blog", "body": "c"}]}


@pytest.mark.parametrize(
    ("data", "results", "expected"),
    [
        (PAIR, [result("pairwise", {"selected": "left"})], Compared(preference=1)),
        (PAIR, [result("pairwise", {"selected": "right"})], Compared(preference=-1)),
        (PAIR, [result("choices", {"choices": ["text2"]})], Compared(preference=-1)),
        (
            PAIR,
            [result("choices", {"choices": ["response_1_by_far", "both_bad"]})],
            Compared(preference=2, both_bad=True),
        ),
        (PAIR, [result("choices", {"choices": ["Both bad"]})], Compared(preference=0, both_bad=True)),
        (PAIR, [result("choices", {"choices": ["Equal"]})], Compared(preference=0)),
        (PAIR, [result("choices", {"choices": ["too_hard"]})], TooHard()),
        (LIST, [result("ranker", {"ranker": {"rank": ["wiki", "blog", "mdn"]}})], Ranked(tiers=((1,), (2,), (0,)))),
        (
            LIST,
            [result("ranker", {"ranker": {"1": ["wiki", "blog"], "2": ["mdn"], "_": []}})],
            Ranked(tiers=((1, 2), (0,))),
        ),
        ({"prompt": "p", "response": "a"}, [result("rating", {"rating": 4})], Graded(score=4)),
        (
            {"prompt": "p", "response": "a"},
            [result("rating", {"rating": 4}), result("textarea", {"text": ["dull"]}, "comment")],
            Graded(score=4, reason="dull"),
        ),
        (
            {"prompt": "p", "response": "a"},
            [result("textarea", {"text": ["one", "two"]})],
            Written(kind="edit", text="one\ntwo"),
        ),
        ({"prompt": "p"}, [result("textarea", {"text": "one"})], Written(kind="demonstrate", text="one")),
    ],
)
def test_label_studio_results(tmp_path: Path, data: dict[str, Any], results: list[Any], expected: Any) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task(data, *results, lead_time=4.5, created_at="2026-01-02T03:04:05Z")]))
    source = open_source(path)
    (one,) = source
    assert source.format == "label-studio"
    assert (one.item.id, one.item.prompt) == ("1", USER)
    assert one.labels == (Label(annotator="4", answer=expected, seconds=4.5, at="2026-01-02T03:04:05Z"),)


def test_label_studio_skips_and_whom_it_names(tmp_path: Path) -> None:
    chosen = result("choices", {"choices": ["text1"]})
    row = task(PAIR, chosen, completed_by={"id": 4, "email": "ann@example.org"})
    row["annotations"] += [
        {"completed_by": 5, "was_cancelled": True, "result": []},
        {"completed_by": 6, "result": []},
        {"completed_by": 7, "annotator": "bo", "result": [chosen]},
        {"result": [chosen]},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps([row]))
    source = open_source(path)
    (one,) = source
    assert [label.annotator for label in one.labels] == ["4", "bo", "unknown"]
    assert source.left_out == {"skipped in Label Studio": 1, "no whole answer to an item of kind compare": 1}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (task({"text1": "a", "text2": "b"}), "none of its texts is the prompt (they are text1, text2)"),
        (
            task(LIST, result("ranker", {"ranker": {"best": ["mdn"], "ads": ["blog"]}})),
            "buckets must be called by their rank",
        ),
        (
            task(LIST, result("ranker", {"ranker": {"rank": ["mdn", "new"]}})),
            "'new' names none of the responses mdn, wiki",
        ),
        (
            task(LIST, result("ranker", {"ranker": {"rank": ["mdn", "wiki", "mdn"]}})),
            "tiers must hold each of the 3 responses once",
        ),
        (task({"prompt": "p", "response": "a"}, result("rating", {"rating": 9})), "score: input should be less than"),
        ({"data": PAIR, "annotations": [{"completed_by": 1}]}, "annotation 1 must be an object with a list result"),
    ],
)
def test_label_studio_rows_that_cannot_be_read(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([row]))
    message = fails(path)
    assert f"{path}, item 1: " in message
    assert expected in message


def test_a_ranking_that_was_not_finished_is_no_answer(tmp_path: Path) -> None:
    done, begun, untouched = {"1": ["mdn"], "2": ["wiki"], "3": ["blog"]}, {"1": ["mdn"], "_": ["wiki"]}, {"1": []}
    row = task(LIST, result("ranker", {"ranker": done}))
    row["annotations"] += [
        {"completed_by": 5 + n, "result": [result("ranker", {"ranker": ranker})]}
        for n, ranker in enumerate([begun, untouched])
    ]
    source = open_source(lines(tmp_path / "tasks.jsonl", [row]))
    (one,) = source
    assert [label.answer for label in one.labels] == [Ranked(tiers=((0,), (1,), (2,)))]
    assert source.left_out == {"no whole answer to an item of kind rank": 2}


def test_rows_nobody_answered_become_items_by_their_number_of_responses(tmp_path: Path) -> None:
    many = {"prompt": "p", "response_1": "a", "response_2": "b", "response_3": "c"}
    rows = [{"data": data} for data in ({"prompt": "p"}, {"prompt": "q", "response": "a"}, PAIR, many)]
    path = lines(tmp_path / "tasks.jsonl", rows)
    assert [one.item.kind for one in open_source(path)] == ["demonstrate", "grade", "compare", "rank"]
    renamed = lines(tmp_path / "renamed.jsonl", [{"data": {"topic": "p", "left": "a", "right": "b"}}])
    columns = {"prompt": "topic", "response_1": "left", "response_2": "right"}
    (one,) = open_source(renamed, columns=columns)
    assert (one.item.kind, one.item.responses) == ("compare", ("a", "b"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
WHOLE = {
    "jsonl": labelled(annotators=("ann", "bo")),
    "label-studio": task(
        PAIR | {"messages": [{"role": "user", "content": "p"}]},
        result("choices", {"choices": ["text1"]}),
        result("rating", {"rating": 3}),
        result("textarea", {"text": ["x"]}),
        result("ranker", {"ranker": {"1": ["text1"]}}),
    ),
    "argilla": {
        "id": "r1",
        "fields": {"prompt": "p", "response_1": "a", "response_2": "b"},
        "responses": {
            "order": [{"value": [{"value": "response_1", "rank": 1}], "user_id": ANN, "status": "submitted"}],
            "remarks": [{"value": ["harmful"], "user_id": ANN}],
        },
    },
}
FLAT = {
    "prompt": "p",
    "response_1": "a",
    "q.responses": ["a"],
    "q.responses.users": [ANN],
    "q.responses.status": [None],
}


def places(value: Any) -> list[tuple[Any, ...]]:
    """The way to every value inside another."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, one in inner for way in [(key,), *((key, *rest) for rest in places(one))]]


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([*WHOLE.items(), ("argilla", FLAT)]))
def test_any_value_anywhere_is_read_or_told(tmp_path_factory: pytest.TempPathFactory, data: Any, whole: Any) -> None:
    format, valid = whole
    row = json.loads(json.dumps(valid))
    *way, last = data.draw(st.sampled_from(places(row)))
    inside = row
    for step in way:
        inside = inside[step]
    inside[last] = data.draw(JSON)
    path = lines(tmp_path_factory.mktemp("odd") / "rows.jsonl", [row])
    try:
        told = len(list(open_source(path, format=format))) == 1
    except DataError as error:
        told = "line 1: " in str(error)
    assert told
