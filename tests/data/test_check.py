from __future__ import annotations

import copy
import json

import pytest
from typer.testing import CliRunner

from trimtab.cli import data as command
from trimtab.cli.data import app
from trimtab.data import check as module
from trimtab.data.chat import ChatTemplate
from trimtab.data.check import check
from trimtab.data.formats import read
from trimtab.errors import DataError, UserError
from trimtab.types import Message, Prompt

from .tiny_tokenizers import tiny

PAIR = {"prompt": "Coffee", "chosen": "Meals and drinks", "rejected": "Travel"}


@pytest.fixture
def write(tmp_path):
    def to_file(*rows: object) -> str:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(path)

    return to_file


def lines(pairs) -> list[tuple[int, int]]:
    return [(first.number, again.number) for first, again in pairs]


def test_lengths_in_words(write):
    rows = [{"prompt": "a " * n, "completion": "b"} for n in (1, 2, 3, 4, 5)]
    report = check(read(write(*rows)))
    assert report.unit == "words"
    assert report.lengths["prompt"] == {"min": 1, "25 %": 2, "median": 3, "75 %": 4, "95 %": 5, "max": 5}
    assert report.lengths["response"]["max"] == 1
    assert (report.rows, report.records, report.distinct_prompts) == (5, 5, 5)


def test_lengths_in_tokens(write):
    template = ChatTemplate(tiny("chatml"))
    report = check(read(write({"prompt": "Coffee", "completion": "Meals"})), template)
    tokenizer = tiny("chatml")
    expected = len(tokenizer.encode("Meals", add_special_tokens=False)) + 1  # and the end of the turn
    assert report.unit == "tokens"
    assert report.lengths["response"]["median"] == expected


def test_duplicates_and_contradictions(write):
    turned = {"prompt": "Coffee", "chosen": "Travel", "rejected": "Meals and drinks"}
    report = check(read(write(PAIR, PAIR | {"prompt": "Taxi"}, PAIR, turned)))
    assert lines(report.duplicates) == [(1, 3)]
    assert lines(report.contradictions) == [(1, 4)]
    assert report.distinct_prompts == 2


def test_ties_and_minorities_in_contradictions(write):
    votes = {"prompt": "Coffee", "responses": ["a", "b"]}
    one, two = {"annotator": "x", "choice": 0}, {"annotator": "y", "choice": 1}
    report = check(read(write(votes | {"votes": [one]}, votes | {"votes": [one, two]}, votes | {"votes": [two]})))
    assert lines(report.contradictions) == [(1, 3)]


@pytest.mark.parametrize(
    ("column", "first", "second"), [("ranking", [0, 1, 2], [1, 0, 2]), ("scores", [3, 2, 1], [2, 3, 1])]
)
def test_contradictions_between_annotators(write, column, first, second):
    row = {"prompt": "Coffee", "responses": ["a", "b", "c"]}
    report = check(read(write(row | {column: first, "annotator": "x"}, row | {column: second, "annotator": "y"})))
    assert lines(report.contradictions) == [(1, 2)]


@pytest.mark.parametrize(
    ("kind", "row", "records", "longest"),
    [
        ("rankings", {"responses": ["a", "b c", "d"], "ranking": [1, [0, 2]]}, 1, 2),
        ("grades", {"responses": ["a", "b c d"], "scores": [1, 7]}, 2, 3),
        ("votes", {"responses": ["a", "b c"], "votes": [{"annotator": "x", "choice": 0}]}, 1, 2),
    ],
)
def test_what_annotators_say_is_recognised(write, kind, row, records, longest):
    report = check(read(write({"prompt": "Coffee", **row}, {"prompt": "Taxi", **row})))
    assert report.format == kind
    assert (report.rows, report.records, report.distinct_prompts) == (2, 2 * records, 2)
    assert report.lengths["response"]["max"] == longest
    assert report.duplicates == report.contradictions == report.bad == []


def test_very_long_rows_are_named(write):
    report = check(read(write(PAIR, PAIR | {"chosen": "a" * 2**20})))
    assert [(place.number, length > 2**20) for place, length in report.long_rows] == [(2, True)]


def test_minus_one_is_no_repetition_of_minus_two(write):
    row = {"prompt": "Coffee", "responses": ["a"]}
    report = check(read(write(row | {"scores": [-1]}, row | {"scores": [-2]}, row | {"scores": [-1]})))
    assert lines(report.duplicates) == [(1, 3)]


def test_findings_beyond_a_number_are_counted(write, monkeypatch):
    monkeypatch.setattr(module, "LISTED", 2)
    monkeypatch.setattr(command, "_LISTED", 1)
    turned = {"prompt": "Coffee", "chosen": "Travel", "rejected": "Meals and drinks"}
    source = write(PAIR, turned, *[PAIR] * 3, *[{"prompt": "Taxi"}] * 4, PAIR | {"prompt": "a" * 60_000})
    report = check(read(source))
    assert lines(report.duplicates) == [(1, 3), (1, 4)]
    assert lines(report.contradictions) == [(1, 2), (2, 3)]
    assert [bad.line for bad in report.bad] == [6, 7]
    assert report.not_listed == {"duplicates": 1, "contradictions": 2, "bad": 2}
    shown = run(source).output
    assert "rows       10, of these 4 bad" in shown
    assert "Rows that repeat an earlier row: 3\n  line 3 and line 1\n  and 2 more (--json lists the first 2)" in shown
    assert "Bad rows: 4\n" in shown
    assert "line 7: " in shown
    assert "\n  and 2 more\n" in shown
    found = json.loads(run(source, "--json").output)
    assert (len(found["duplicates"]), found["not_listed"]["duplicates"]) == (2, 1)


def test_a_row_is_refused_for_one_of_its_turns(write):
    """Its other turns are measured all the same, and so are the rows beside it."""
    tokenizer = copy.deepcopy(tiny("chatml"))
    refusal = (
        "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{% endfor %}"
    )
    tokenizer.chat_template = refusal + tokenizer.chat_template
    template = ChatTemplate(tokenizer)
    turns = [("user", "Coffee and cake"), ("assistant", "b"), ("tool", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bb"}]}
    report = check(read(write(good, row, good)), template)
    assert [(bad.line, "no tools" in bad.reason) for bad in report.bad] == [(2, True)]
    assert (report.rows, report.records) == (3, 4)
    longest = Prompt((Message("user", "Coffee and cake"),))
    assert report.lengths["prompt"]["max"] == len(template.prompt_ids(longest))
    assert report.lengths["prompt"]["min"] == len(template.prompt_ids(Prompt((Message("user", "a"),))))


def test_the_example_shows_what_is_supervised(write):
    report = check(read(write(PAIR)), ChatTemplate(tiny("chatml")))
    assert [example.title for example in report.examples] == ["chosen", "rejected"]
    for example, response in zip(report.examples, ("Meals and drinks", "Travel"), strict=True):
        assert "".join(text for text, trained in example.pieces if trained) == f"{response}<|im_end|>"
    plain = check(read(write(PAIR)))
    assert plain.examples[0].pieces == [("user: Coffee\n", False), ("assistant: ", False), ("Meals and drinks", True)]


@pytest.mark.parametrize(
    ("row", "titles"),
    [
        ({"prompt": "Coffee"}, ["prompt"]),
        ({"prompt": "Coffee", "completion": "x"}, ["demonstration"]),
        ({"prompt": "Coffee", "responses": ["a", "b"], "ranking": [1, 0]}, ["response"]),
        ({"prompt": "Coffee", "completion": "x", "label": True}, ["response"]),
        ({"text": "Coffee"}, ["demonstration"]),
    ],
)
def test_every_kind_has_an_example(write, row, titles):
    report = check(read(write(row)), ChatTemplate(tiny("chatml")))
    assert [example.title for example in report.examples] == titles


def test_rows_that_the_template_refuses_are_bad(write):
    refused = {"prompt": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], "completion": "z"}
    report = check(read(write(refused, {"prompt": "x", "completion": "y"})), ChatTemplate(tiny("gemma")))
    assert [bad.line for bad in report.bad] == [1]
    assert "System role not supported" in report.bad[0].reason
    assert report.examples[0].pieces[-1] == ("<end_of_turn>", True)


def run(*arguments: str):
    return CliRunner().invoke(app, ["check", *arguments], catch_exceptions=False)


def test_command_prints_the_report(write):
    result = run(write(PAIR, PAIR))
    assert result.exit_code == 0
    assert "format     preference (comparisons)" in result.output
    assert "⟦Meals and drinks⟧" in result.output
    assert "Rows that repeat an earlier row: 1\n  line 2 and line 1" in result.output
    assert "Every row can be read." in result.output


def test_command_fails_on_bad_rows(write):
    source = write(PAIR, PAIR | {"chosen": "Travel"}, PAIR | {"prompt": ""})
    result = run(source)
    assert result.exit_code == 1
    assert f"{source}, line 2: chosen and rejected are the same" in result.output
    assert f"{source}, line 3: prompt is empty" in result.output
    assert "--skip-bad" in result.output
    assert run(source, "--skip-bad").exit_code == 0


def test_command_as_json(write):
    result = run(write(PAIR, PAIR | {"chosen": "Travel"}), "--json", "--skip-bad")
    report = json.loads(result.output)
    assert report["bad"] == [{"file": report["source"], "line": 2, "reason": "chosen and rejected are the same"}]
    assert report["lengths"]["prompt"]["max"] == 1


def test_command_renames_columns(write):
    source = write({"question": "[bold]Coffee", "answer": "Meals"})
    result = run(source, "--columns", "prompt=question", "--columns", "completion=answer")
    assert result.exit_code == 0
    assert "user: [bold]Coffee" in result.output
    with pytest.raises(UserError, match="write OURS=THEIRS"):
        run(source, "--columns", "prompt")


def test_no_row_steers_the_terminal(write):
    row = {"prompt": "[/b]\x1b[2J", "completion": "\x9b31m:smile:", "\x1b]0;title\x07": 1, "\ud800": 2}
    bad = {"prompt": "x", "completion": [{"role": "\x1bx", "content": "y"}]}
    result = run(write(row, bad))
    assert "user: [/b]�[2J" in result.output
    assert "⟦�31m:smile:⟧" in result.output
    assert "�]0;title�" in result.output
    assert result.exit_code == 1
    assert not {"\x1b", "\x07", "\x9b", "\ud800"} & set(result.output)
    assert "\ud800" in json.loads(run(write(row, bad), "--json").output)["columns"]


def test_command_with_a_model(write, tmp_path):
    folder = tmp_path / "model"
    tiny("llama3").save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    result = run(write({"prompt": "Coffee", "completion": "Meals"}), "--model", str(folder))
    assert "Lengths in tokens" in result.output
    assert "⟦Meals<|eot_id|>⟧" in result.output


def test_command_on_an_empty_file(write):
    with pytest.raises(DataError, match="is empty"):
        run(write())
