from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.formats import (
    read,
    read_comparisons,
    read_demonstrations,
    read_grades,
    read_prompts,
    read_rankings,
)
from trimtab.errors import DataError
from trimtab.types import Comparison, Demonstration, Grade, Message, Prompt, Ranking

U, A, S, T = (lambda text, role=role: Message(role, text) for role in ("user", "assistant", "system", "tool"))
COFFEE = Prompt((U("Coffee"),))


def chat(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def share(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": who, "value": said} for who, said in turns]


@pytest.fixture
def write(tmp_path):
    def to_file(*rows: object) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)

    return to_file


LONG = chat(
    ("system", "Be brief"), ("user", "Coffee"), ("assistant", "Meals"), ("user", "Taxi"), ("assistant", "Travel")
)
LONG_TURNS = [
    Demonstration(Prompt((S("Be brief"), U("Coffee"))), "Meals"),
    Demonstration(Prompt((S("Be brief"), U("Coffee"), A("Meals"), U("Taxi"))), "Travel"),
]
PLAIN = [Demonstration(COFFEE, "Meals")]
PAIR = [Comparison(COFFEE, "Meals", "Travel")]
OPENED = chat(("user", "Coffee"))
MEALS, TRAVEL = chat(("assistant", "Meals")), chat(("assistant", "Travel"))

FORMATS = [
    ("text", {"text": "To be or not"}, [Demonstration(Prompt(()), "To be or not")]),
    ("messages", {"messages": LONG}, LONG_TURNS),
    ("messages", {"messages": [{"role": "developer", "content": "Be brief"}, *LONG[1:]]}, LONG_TURNS),
    ("messages", {"messages": [{"role": "system", "content": ""}, *OPENED, *MEALS]}, PLAIN),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Coffee"}]}, *MEALS]},
        PLAIN,
    ),
    (
        "messages",
        {"messages": [*OPENED, *chat(("assistant", "look up"), ("tool", "12"), ("assistant", "12 EUR"))]},
        [
            Demonstration(COFFEE, "look up"),
            Demonstration(Prompt((U("Coffee"), A("look up"), T("12"))), "12 EUR"),
        ],
    ),
    ("prompt-only", {"prompt": "Coffee"}, [COFFEE]),
    ("prompt-only", {"prompt": LONG[:4]}, [LONG_TURNS[1].prompt]),
    ("prompt-completion", {"prompt": "Coffee", "completion": "Meals"}, PLAIN),
    ("prompt-completion", {"prompt": OPENED, "completion": MEALS}, PLAIN),
    ("prompt-completion", {"prompt": LONG[:2], "completion": LONG[2:]}, LONG_TURNS),
    ("preference", {"prompt": "Coffee", "chosen": "Meals", "rejected": "Travel"}, PAIR),
    ("preference", {"prompt": OPENED, "chosen": MEALS, "rejected": TRAVEL}, PAIR),
    ("preference", {"chosen": OPENED + MEALS, "rejected": OPENED + TRAVEL}, PAIR),
    ("preference", {"prompt": "Coffee", "chosen": OPENED + MEALS, "rejected": OPENED + TRAVEL}, PAIR),
    (
        "preference",
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        [Comparison(Prompt((U("The sky is"),)), "blue.", "green.")],
    ),
    (
        "preference",
        {"prompt": "Coffee", "chosen": "Meals", "rejected": "Travel", "margin": 0.5, "probability": 0.75}
        | {"annotators": ["a", "b"], "instructions_version": "2"},
        [Comparison(COFFEE, "Meals", "Travel", 0.75, 0.5, ("a", "b"), "2")],
    ),
    ("unpaired preference", {"prompt": "Coffee", "completion": "Meals", "label": True}, [Grade(COFFEE, "Meals", 1.0)]),
    ("unpaired preference", {"prompt": OPENED, "completion": MEALS, "label": "false"}, [Grade(COFFEE, "Meals", 0.0)]),
    ("prompt-completion", {"prompt": "Coffee", "completion": "Meals", "label": "expense"}, PLAIN),
    (
        "ShareGPT",
        {"conversations": share(("human", "Coffee"), ("gpt", "Meals"), ("human", "Taxi"), ("gpt", "Travel"))}
        | {"system": "Be brief"},
        LONG_TURNS,
    ),
    (
        "ShareGPT",
        {"conversations": share(("human", "Coffee"), ("function_call", "f"), ("observation", "12"), ("gpt", "x"))},
        [Demonstration(COFFEE, "f"), Demonstration(Prompt((U("Coffee"), A("f"), T("12"))), "x")],
    ),
    (
        "ShareGPT preference",
        {"conversations": share(("human", "Coffee"))}
        | {"chosen": share(("gpt", "Meals"))[0], "rejected": share(("gpt", "Travel"))[0]},
        PAIR,
    ),
    (
        "ShareGPT unpaired preference",
        {"conversations": share(("human", "Coffee"), ("gpt", "Meals")), "kto_tag": False},
        [Grade(COFFEE, "Meals", 0.0)],
    ),
    ("Alpaca", {"instruction": "Coffee", "input": "", "output": "Meals"}, PLAIN),
    (
        "Alpaca",
        {"instruction": "Name it", "input": "Taxi", "output": "Travel", "system": "Be brief", "history": [["a", "b"]]},
        [Demonstration(Prompt((S("Be brief"), U("a"), A("b"), U("Name it\n\nTaxi"))), "Travel")],
    ),
    ("Alpaca preference", {"instruction": "Coffee", "input": "", "chosen": "Meals", "rejected": "Travel"}, PAIR),
    (
        "OpenAI preference",
        {"input": {"messages": OPENED, "tools": []}, "preferred_output": MEALS, "non_preferred_output": TRAVEL},
        PAIR,
    ),
    (
        "HH-RLHF",
        {
            "chosen": "\n\nHuman: Coffee\n\nAssistant: Meals\n\nHuman: Taxi\n\nAssistant: Travel",
            "rejected": "\n\nHuman: Coffee\n\nAssistant: Meals\n\nHuman: Taxi\n\nAssistant: Meals",
        },
        [Comparison(Prompt((U("Coffee"), A("Meals"), U("Taxi"))), "Travel", "Meals")],
    ),
    (
        "preference",
        {"prompt": "Coffee", "chosen": "Meals", "rejected": "Travel", "probability": 0.5, "margin": -0.25},
        [Comparison(COFFEE, "Meals", "Travel", 0.5, -0.25)],
    ),
    (
        "rankings",
        {"prompt": "Coffee", "responses": ["a", "b", "c"], "ranking": [1, [0, 2]], "annotator": "ann-1"}
        | {"instructions_version": "3"},
        [Ranking(COFFEE, ("a", "b", "c"), ((1,), (0, 2)), "ann-1", "3")],
    ),
    (
        "grades",
        {"prompt": "Coffee", "responses": ["a", "b"], "scores": [1, 4.5], "annotator": "ann-1"},
        [Grade(COFFEE, "a", 1.0, "ann-1"), Grade(COFFEE, "b", 4.5, "ann-1")],
    ),
    (
        "votes",
        {"prompt": "Coffee", "responses": ["Meals", "Travel"], "instructions_version": "3"}
        | {"votes": [{"annotator": "ann-1", "choice": 0}, {"annotator": "ann-2", "choice": "tie"}]},
        [Comparison(COFFEE, "Meals", "Travel", 0.75, 0.0, ("ann-1", "ann-2"), "3", (1.0, 0.5))],
    ),
    (
        "votes",
        {"prompt": "Coffee", "responses": ["Meals", "Travel"]}
        | {"votes": [{"annotator": n, "choice": c} for n, c in (("a", 1), ("b", "tie"), ("c", 0))]},
        [Comparison(COFFEE, "Meals", "Travel", 0.5, 0.0, ("a", "b", "c"), "", (0.0, 0.5, 1.0))],
    ),
    (
        "votes",
        {"prompt": "Coffee", "responses": ["Travel", "Meals"]}
        | {"votes": [{"annotator": n, "choice": c} for n, c in (("a", 1), ("b", 1), ("c", 1), ("d", 0))]},
        [Comparison(COFFEE, "Meals", "Travel", 0.75, 0.0, ("a", "b", "c", "d"), "", (1.0, 1.0, 1.0, 0.0))],
    ),
]


@pytest.mark.parametrize(("name", "row", "records"), FORMATS)
def test_formats_are_found_and_read(write, name, row, records):
    data = read(write(row, row))
    assert data.format.startswith(name)
    assert list(data) == records * 2
    assert [(row.place.number, row.records) for row in data.rows()] == [(1, records), (2, records)]


def test_other_columns_go_to_meta(write):
    source = write(
        {"prompt": "Coffee", "chosen": "a", "rejected": "b", "truth": {"amount": 12.5}, "annotator": "ann-1"}
    )
    (comparison,) = read_comparisons(source)
    assert comparison.prompt.meta == {"truth": {"amount": 12.5}}
    assert comparison.annotators == ("ann-1",)


BAD = [
    (
        {"prompt": "Coffee"},
        "'completion', which the format prompt-completion needs, is missing (columns: prompt)",
    ),
    (
        {"prompt": "Coffee", "completion": None},
        "'completion', which the format prompt-completion needs, is empty",
    ),
    ({"prompt": "", "completion": "x"}, "prompt is empty"),
    ({"prompt": "x", "completion": " \n"}, "completion is empty"),
    ({"prompt": 3, "completion": "x"}, "prompt must be a list of messages, not int"),
    ({"prompt": "x", "completion": 3}, "completion must be a list of messages, not int"),
    ({"prompt": [], "completion": "x"}, "prompt has no messages"),
    ({"prompt": ["x"], "completion": "x"}, "message 1 of prompt must be an object with role and content, not str"),
    ({"prompt": [{"role": "user"}], "completion": "x"}, "message 1 of prompt has no 'content' (it has role)"),
    ({"prompt": chat(("wizard", "x")), "completion": "x"}, "message 1 of prompt has the role 'wizard'"),
    ({"prompt": [{"role": 3, "content": "x"}], "completion": "x"}, "message 1 of prompt has the role 3"),
    ({"prompt": chat(("user", "")), "completion": "x"}, "message 1 of prompt (user) is empty"),
    ({"prompt": chat(("assistant", "x")), "completion": "x"}, "is the assistant's, which cannot come first"),
    ({"prompt": chat(("user", "x"), ("user", "y")), "completion": "x"}, "cannot follow the user's; join the two"),
    ({"prompt": chat(("user", "x"), ("system", "y")), "completion": "x"}, "is a system message, which cannot follow"),
    ({"prompt": chat(("user", "x"), ("assistant", "y")), "completion": "x"}, "prompt ends with the assistant's"),
    ({"prompt": chat(("system", "x")), "completion": "x"}, "prompt ends with a system message"),
    ({"prompt": "x", "completion": chat(("user", "x"))}, "message 1 of completion is the user's, which cannot follow"),
    ({"prompt": "x", "completion": [*MEALS, *OPENED]}, "completion ends with the user's"),
    (
        {
            "prompt": [{"role": "user", "content": "x"}],
            "completion": [{"role": "assistant", "content": None, "tool_calls": [1]}],
        },
        "has tool_calls",
    ),
    (
        {"prompt": [{"role": "user", "content": [{"type": "image_url"}]}], "completion": "x"},
        "has parts that are not text",
    ),
    ({"prompt": "half \ud83d", "completion": "x"}, "prompt holds half a surrogate pair at character 6"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_bad_rows_are_named(write, row, reason):
    good = {"prompt": "Coffee", "completion": "Meals"}
    source = write(good, row, good)
    with pytest.raises(DataError) as error:
        list(read(source))
    assert f"{source}, line 2: " in str(error.value)
    assert reason in str(error.value)
    data = read(source, skip_bad=True)
    assert list(data) == PLAIN * 2
    assert [(row.place.number, reason in row.problem) for row in data.rows() if row.problem] == [(2, True)]


R = {"prompt": "Coffee", "responses": ["a", "b", "c"]}
BAD_JUDGEMENTS = [
    ({"prompt": "x", "chosen": "a", "rejected": "a"}, "chosen and rejected are the same"),
    ({"chosen": OPENED + MEALS, "rejected": OPENED + MEALS}, "chosen and rejected are the same"),
    ({"chosen": OPENED + MEALS, "rejected": "Travel"}, "one of chosen and rejected holds the whole conversation"),
    ({"chosen": MEALS, "rejected": TRAVEL}, "there is no column prompt"),
    ({"chosen": "blue", "rejected": "green"}, "share no beginning"),
    ({"chosen": LONG, "rejected": OPENED + TRAVEL}, "after 0 equal messages chosen has 5 more and rejected 2"),
    ({"chosen": OPENED, "rejected": chat(("user", "Taxi"))}, "must be the assistant's"),
    ({"prompt": "x", "chosen": [*MEALS, *OPENED], "rejected": MEALS}, "chosen has 2 messages"),
    ({"prompt": "x", "chosen": "a", "rejected": "b", "probability": 1.5}, "probability must be from 0 to 1"),
    ({"prompt": "x", "chosen": "a", "rejected": "b", "margin": "much"}, "margin must be a number, not 'much'"),
    ({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant:"}, "(assistant) is empty"),
    (R | {"ranking": [0, 1]}, "each of the indices 0 to 2 once, this is [0, 1]"),
    (R | {"ranking": [0, 1, 1]}, "each of the indices"),
    (R | {"ranking": [0, [1, [2]]]}, "each of the indices"),
    (R | {"ranking": "b>a"}, "ranking must be a list"),
    (R | {"responses": ["a", "b", "a"], "ranking": [0, 1, 2]}, "responses 0 and 2 are the same text"),
    (R | {"responses": ["a"], "ranking": [0]}, "at least 2 texts"),
    (R | {"scores": [1, 2]}, "scores must be a list of 3 numbers"),
    (R | {"scores": [1, 2, float("nan")]}, "score 2 is not a finite number"),
    (R | {"scores": [1, None, 3]}, "score 1 must be a number, not None"),
    (R | {"votes": [{"choice": 0}]}, "votes are between two responses, this row has 3"),
    (R | {"responses": ["a", "b"], "votes": []}, "votes must be a list"),
    (R | {"responses": ["a", "b"], "votes": [{"choice": 2}]}, 'must be 0, 1 or "tie", not 2'),
    (R | {"responses": ["a", "b"], "votes": [{"annotator": "x", "choice": 0}] * 2}, "'x' voted more than once"),
    ({"instruction": "x", "output": "y", "history": ["a"]}, "turn 1 of history must be [question, answer]"),
    ({"conversations": share(("human", "x"), ("gpt", "y")), "system": "a", "kto_tag": "?"}, "kto_tag must be true"),
    ({"messages": OPENED}, "messages has no assistant message"),
    ({"messages": [*OPENED, *MEALS, *OPENED]}, "messages ends with the user's"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_JUDGEMENTS)
def test_bad_judgements_are_named(write, row, reason):
    (found,) = read(write(row), skip_bad=True).rows()
    assert not found.records
    assert reason in found.problem


def test_one_odd_first_row_does_not_decide_the_format(write):
    data = read(write({"prompt": "Coffee"}, *[{"prompt": "Coffee", "completion": "Meals"}] * 3), skip_bad=True)
    assert data.format == "prompt-completion"
    assert [row.place.number for row in data.rows() if row.problem] == [1]


def test_many_bad_rows_are_counted(write):
    source = write({"prompt": "x", "completion": "y"}, *[{"prompt": "", "completion": "y"}] * 8)
    with pytest.raises(DataError, match=r"(?s)^8 of 9 rows.*line 6.*and 3 more.*--skip-bad, .*skip_bad: true"):
        list(read(source))


def test_nothing_is_given_after_a_bad_row(write):
    """What follows would be learnt from for nothing: the reading fails in the end."""
    good = {"prompt": "Coffee", "completion": "Meals"}
    records = read_demonstrations(write(good, {"prompt": "", "completion": "x"}, good, good))
    assert next(records) == PLAIN[0]
    with pytest.raises(DataError, match=r"^1 of 4 rows"):
        next(records)


def test_a_wrong_kind_is_told_at_the_first_row(write):
    pair = {"prompt": "Coffee", "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match="not responses to imitate"):
        next(read_demonstrations(write(pair, *[pair | {"chosen": ""}] * 3)))


def test_a_file_may_be_gone_through_twice(write):
    data = read(write({"prompt": "Coffee", "completion": "Meals"}))
    assert list(data) == list(data) == PLAIN


def test_unknown_columns_name_the_known_formats(write):
    with pytest.raises(
        DataError,
        match=r"(?s)question, answer\..*--columns prompt=question --columns completion=answer, "
        r"or in a recipe's stage columns: \{prompt: question, completion: answer\}\.",
    ):
        read(write({"question": "x", "answer": "y"}))
    with pytest.raises(
        DataError, match=r"(?s)--columns input=context --columns output=resp.*Alpaca: instruction, outp"
    ):
        read(write({"instruction": "x", "context": "", "response": "y"}))


def test_columns_are_renamed(write):
    source = write({"question": "Coffee", "answer": "Meals", "prompt": "unused", "id": 7})
    (found,) = read_demonstrations(source, columns={"prompt": "question", "completion": "answer"})
    assert found == PLAIN[0]
    assert found.prompt.meta == {"id": 7}
    with pytest.raises(DataError, match=r"there is no column 'query' to rename \(columns: question"):
        list(read(source, columns={"prompt": "query"}))


def test_no_row_can_be_read(write, tmp_path):
    (tmp_path / "a.jsonl").write_text("{\n{\n")
    with pytest.raises(DataError, match=r"No row of .*line 1: not valid JSON"):
        read(tmp_path / "a.jsonl", skip_bad=True)


@pytest.mark.parametrize("reader", [read_comparisons, read_demonstrations, read_prompts])
def test_that_all_rows_are_bad_is_said(write, reader):
    source = write(*[{"prompt": "", "responses": ["a", "b"], "scores": [1, 2]}] * 2)
    with pytest.raises(DataError, match=r"not one usable row: all 2 are bad as grades\. The first, .*line 1: prompt"):
        list(reader(source, skip_bad=True))


def test_a_row_of_a_megabyte_is_read(write):
    (row,) = read(write({"prompt": "x", "completion": "a" * 2**20})).rows()
    assert len(row.records[0].response) == 2**20
    assert row.length > 2**20


def test_rankings_become_all_their_pairs(write):
    row = {"prompt": "Coffee", "responses": ["a", "b", "c"], "ranking": [1, [0, 2]], "annotator": "ann-1"}
    found = [(c.chosen, c.rejected, c.probability, c.annotators) for c in read_comparisons(write(row))]
    assert found == [("b", "a", 1.0, ("ann-1",)), ("b", "c", 1.0, ("ann-1",)), ("a", "c", 0.5, ("ann-1",))]


def test_grades_become_pairs_of_one_annotator_with_margins(write):
    source = write(
        {"prompt": "Coffee", "responses": ["a", "b", "c"], "scores": [1, 3, 3], "annotator": "ann-1"},
        {"prompt": "Coffee", "responses": ["a"], "scores": [9], "annotator": "ann-2"},
    )
    found = [(c.chosen, c.rejected, c.probability, c.margin) for c in read_comparisons(source)]
    margin = pytest.approx(2 / (8 / 9) ** 0.5)  # 1, 3 and 3 have variance 8/9
    assert found == [("b", "c", 0.5, 0.0), ("b", "a", 1.0, margin), ("c", "a", 1.0, margin)]


def test_rankings_and_grades_are_read_as_they_are(write):
    row = {"prompt": "Coffee", "responses": ["a", "b", "c"], "annotator": "ann-1"}
    source = write(row | {"ranking": [1, [0, 2]]})
    assert list(read_rankings(source)) == [Ranking(COFFEE, ("a", "b", "c"), ((1,), (0, 2)), "ann-1")]
    source = write(row | {"scores": [1, 4.5, 1]}, {"prompt": "Taxi", "responses": ["a"], "scores": [2]})
    assert list(read_grades(source)) == [
        Grade(COFFEE, "a", 1.0, "ann-1"),
        Grade(COFFEE, "b", 4.5, "ann-1"),
        Grade(COFFEE, "c", 1.0, "ann-1"),
        Grade(Prompt((U("Taxi"),)), "a", 2.0),
    ]


def test_one_kind_a_file(write):
    """What a file holds is told with what it should hold; a row of another kind is bad."""
    ranked = {"prompt": "Coffee", "responses": ["a", "b"], "ranking": [1, 0]}
    graded = {"prompt": "Coffee", "responses": ["a", "b"], "scores": [1, 2]}
    with pytest.raises(
        DataError, match=r"holds grades rows \(grades\), not rankings\. They need .*ranking_loss: pairs"
    ):
        list(read_rankings(write(graded)))
    with pytest.raises(
        DataError, match=r"holds rankings rows \(rankings\), not grades\. They need .*grade_loss: pairs"
    ):
        list(read_grades(write(ranked)))
    with pytest.raises(DataError, match=r"(?s)1 of 3 rows .* as rankings.*line 2: the column 'ranking'"):
        list(read_rankings(write(ranked, graded, ranked)))


def test_single_grades_make_no_pairs(write):
    row = {"prompt": "Coffee", "responses": ["a"], "scores": [2], "annotator": "x"}
    with pytest.raises(DataError, match=r"no annotator graded two responses to one prompt.*grade_loss: ordinal"):
        list(read_comparisons(write(row, row | {"responses": ["b"], "annotator": "y"})))


def test_what_a_file_cannot_give_is_said(write):
    with pytest.raises(DataError, match="two responses to one prompt"):
        list(read_comparisons(write({"prompt": "x", "completion": "y", "label": True})))
    with pytest.raises(DataError, match="columns prompt, chosen and rejected"):
        list(read_comparisons(write({"prompt": "x", "completion": "y"})))
    with pytest.raises(DataError, match=r"prompt-only rows .*, not responses to imitate.*--columns completion=resp"):
        list(read_demonstrations(write({"prompt": "x", "response": "y"})))
    with pytest.raises(DataError, match=r"--columns prompt=THEIR_NAME, .*stage columns: \{prompt: THEIR_NAME\}\."):
        read(write({"x": "y"}))
    with pytest.raises(DataError, match="without prompts"):
        list(read_prompts(write({"text": "x"})))


def test_any_format_gives_its_prompts(write):
    pair = {"prompt": "Coffee", "chosen": "a", "rejected": "b"}
    assert list(read_prompts(write(pair, pair, pair | {"prompt": "Taxi"}))) == [COFFEE, Prompt((U("Taxi"),))]
    # a file of prompts is taken as it is: rows may differ in meta
    found = read_prompts(write({"prompt": "Coffee", "truth": 1}, {"prompt": "Coffee", "truth": 2}))
    assert [prompt.meta["truth"] for prompt in found] == [1, 2]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(prompts=st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=4), answer=TEXT)
def test_conversations_come_back_as_written(tmp_path_factory, prompts, answer):
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    rows, expected = [], []
    for texts in prompts:
        turns = [turn for text in texts for turn in (("user", text), ("assistant", answer))]
        rows.append(json.dumps({"prompt": chat(*turns[:-1]), "completion": answer}, ensure_ascii=False))
        expected.append(Demonstration(Prompt(tuple(Message(r, c) for r, c in turns[:-1])), answer))
    path.write_text("\n".join(rows), "utf-8", newline="")
    assert list(read_demonstrations(path)) == expected
