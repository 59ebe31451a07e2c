"""The pages: every kind of task from the page to the label, and back to the page when something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.labelling.browser import Browser, Page, open_project
from tests.labelling.world import graded, pair, project, question, quiz_pair

from trimtab.labelling.dashboard import summarise
from trimtab.labelling.records import Answer, Item, Label, TooHard, Turn
from trimtab.labelling.store import Store
from trimtab.labelling.web.serve import listen, serve


def labels(store: Store) -> list[Label]:
    return [label for entry in store.labelled_items() for label in entry.labels]


def only_answer(store: Store) -> Answer:
    (label,) = labels(store)
    return label.answer


def ann_on(folder: Path, item: Item, **more: Any) -> tuple[Store, Browser]:
    store, app, secrets = open_project(folder, [item], **more)
    return store, Browser(app, secrets["ann"])


@pytest.mark.parametrize(("choice", "of_shown_first"), [("2", 2), ("1", 1), ("0", 0), ("-1", -1), ("-2", -2)])
def test_a_comparison_is_stored_in_the_order_of_the_item(tmp_path: Path, choice: str, of_shown_first: int) -> None:
    """Whatever the shuffle: what is said of the response on the left is said of response `order[0]`."""
    store, ann = ann_on(tmp_path, pair(1))
    ann.send(preference=choice, reason="because")
    (label,) = labels(store)
    sign = 1 if label.order[0] == 0 else -1
    assert (label.answer.preference, label.answer.both_bad, label.answer.reason) == (
        sign * of_shown_first,
        False,
        "because",
    )


def test_responses_are_shown_in_the_stored_order(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, pair(1))
    shown = ann.page().text
    ann.send(preference="0")
    (label,) = labels(store)
    assert (shown.index("first") < shown.index("second")) == (label.order == (0, 1))


def test_both_can_be_bad(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, pair(1))
    ann.send(preference="bad")
    assert (only_answer(store).preference, only_answer(store).both_bad) == (0, True)


def test_a_ranking_with_a_tie(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, Item(kind="rank", prompt=question("q"), responses=("a", "b", "c")))
    ann.send(rank_0="2", rank_1="1", rank_2="2")
    (label,) = labels(store)
    left, middle, right = label.order
    assert label.answer.tiers == ((middle,), (left, right))


def test_a_grade_with_flags(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, graded(1))
    ann.send(score="3", flags=["invented", "harmful"])
    assert (only_answer(store).score, only_answer(store).flags) == (3, ("invented", "harmful"))


def test_a_demonstration_and_its_draft(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, Item(kind="demonstrate", prompt=question("q")))
    assert ann.send("/draft", text="half a sent").status_code == 204
    assert "half a sent" in ann.page().text
    ann.send(text=" two\r\nlines ")
    assert only_answer(store).text == "two\nlines"


@pytest.mark.parametrize("kind", ["compare", "demonstrate"])
def test_a_reason_is_kept_beside_the_draft(tmp_path: Path, kind: str) -> None:
    """In the fields the script keeps, and as it was typed. A form that was sent says more than the draft."""
    item = pair(1) if kind == "compare" else Item(kind="demonstrate", prompt=question("q"))
    _, ann = ann_on(tmp_path, item)
    drafted = [a["name"] for a in ann.page().named("textarea") if "data-draft" in a]
    assert drafted == (["reason"] if kind == "compare" else ["text", "reason"])
    ann.send("/draft", reason="50 % & more =\n\u200f", **({"text": "half"} if "text" in drafted else {}))
    assert "50 % & more =\n\u200f" in ann.page().text
    assert ("half" in ann.page().text) == ("text" in drafted)
    assert "50 %" not in ann.send(reason="").text


def test_a_message_is_kept_until_it_is_said(tmp_path: Path) -> None:
    """Also when the draft comes after the message, as it does from a page that is being left."""
    _, ann = ann_on(tmp_path, Item(kind="red_team"), model=lambda turns: "reply")
    page = ann.page()
    assert [a["name"] for a in page.named("textarea") if "data-draft" in a] == ["message", "reason"]
    typed = {"message": "do har", "reason": "so far", "turns": "0"}
    ann.send("/draft", page, **typed)
    assert "do har" in ann.page().text
    ann.send("/turn", page, message="say it", turns="0")
    ann.send("/draft", page, **typed)
    assert "do har" not in ann.page().text
    assert "so far" in ann.page().text


def test_the_reason_of_a_second_vote_is_no_draft(tmp_path: Path) -> None:
    """The task has been sent, so there is nothing left to keep it with, and the page must not say that it is kept."""
    _, ann = ann_on(tmp_path, pair(1, critiques=("of first", "of second")), show_critiques=True)
    second = Page(ann.send(preference="1").text)
    assert [a["name"] for a in second.named("textarea") if "data-draft" in a] == []


def test_an_edit_begins_with_the_response(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, Item(kind="edit", prompt=question("q"), responses=("speling",)))
    assert "speling" in ann.page().text
    ann.send(text="spelling")
    assert only_answer(store).text == "spelling"


def test_a_red_team_dialogue(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, Item(kind="red_team"), model=lambda turns: f"reply {len(turns)}")
    assert "write to the model first" in ann.send(severity="2").text
    page = ann.page()
    ann.send("/turn", page, message="do harm", turns="0")
    ann.send("/turn", page, message="do harm", turns="0")  # a double click
    shown = ann.page().text
    assert shown.count("do harm") == shown.count("reply 1") == 1
    assert "how bad" in ann.send().text
    ann.send(severity="4")
    answer = only_answer(store)
    assert (answer.severity, [turn.content for turn in answer.turns]) == (4, ["do harm", "reply 1"])


@pytest.mark.parametrize("told", [(), (Turn(role="system", content="Be kind."),)])
def test_the_model_of_a_red_team_sees_the_dialogue_and_not_the_task(tmp_path: Path, told: tuple[Turn, ...]) -> None:
    heard: list[tuple[tuple[str, str], ...]] = []

    def model(turns: tuple[Turn, ...]) -> str:
        heard.append(tuple((turn.role, turn.content) for turn in turns))
        return "You rogue!"

    _, ann = ann_on(tmp_path, Item(kind="red_team", prompt=(*told, *question("Try to get insults"))), model=model)
    page = ann.page()
    assert "Your task" in page.text
    assert "User" not in page.text
    assert "Conversation so far" not in [a.get("aria-label") for a in page.named("section")]
    ann.send("/turn", page, message="Insult me", turns="0")
    ann.send("/turn", ann.page(), message="Again", turns="2")
    system = (("system", "Be kind."),) if told else ()
    dialogue = (("user", "Insult me"), ("assistant", "You rogue!"), ("user", "Again"))
    assert heard == [(*system, *dialogue[:1]), (*system, *dialogue)]


def test_without_a_model_the_dialogue_says_so(tmp_path: Path) -> None:
    _, ann = ann_on(tmp_path, Item(kind="red_team"))
    assert "the lead starts it with --model" in ann.send("/turn", message="x", turns="0").text


def test_what_cannot_be_judged_is_an_answer(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, pair(1))
    ann.send(too_hard="1", reason="law")
    assert only_answer(store) == TooHard(reason="law")


@pytest.mark.parametrize(
    ("item", "fields", "words"),
    [
        (pair(1), {"reason": "kept"}, "say which answer is better"),
        (pair(1), {"preference": "7"}, "could not be read"),
        (pair(1), {"preference": "x"}, "could not be read"),
        (graded(1), {}, "give a grade"),
        (graded(1), {"score": "3", "flags": "blue"}, "could not be read"),
        (Item(kind="demonstrate", prompt=question("q")), {"text": "  "}, "write an answer"),
        (Item(kind="rank", prompt=question("q"), responses=("a", "b")), {"rank_0": "1"}, "every answer a place"),
        (Item(kind="rank", prompt=question("q"), responses=("a", "b")), {"rank_0": "1", "rank_1": "x"}, "not be read"),
    ],
)
def test_a_form_that_lacks_something_comes_back_with_what_was_filled_in(
    tmp_path: Path, item: Item, fields: dict[str, str], words: str
) -> None:
    store, ann = ann_on(tmp_path, item)
    answer = ann.send(**fields)
    assert answer.status_code == 400
    assert words in answer.text
    assert fields.get("reason", "") in answer.text
    assert labels(store) == []


def test_the_quiz_says_what_would_have_been_right(tmp_path: Path) -> None:
    """The first response is better; the letter it is shown under depends on the shuffle."""
    _, ann = ann_on(tmp_path, quiz_pair(1, preference=1))
    page = ann.page()
    left_is_first = page.text.index("first") < page.text.index("second")
    told = ann.send(page=page, preference="-1" if left_is_first else "1").text
    assert "Not quite" in told
    assert f"The expected answer: {'A' if left_is_first else 'B'} is better" in told
    assert "The first is right." in told


def test_the_second_vote_after_the_critiques(tmp_path: Path) -> None:
    store, ann = ann_on(tmp_path, pair(1, critiques=("of first", "of second")), show_critiques=True)
    assert "of first" not in ann.page().text
    second = Page(ann.send(preference="1").text)
    assert "of first" in second.text
    first_vote = [a for a in second.named("input") if a.get("name") == "preference" and "checked" in a]
    assert [a["value"] for a in first_vote] == ["1"]
    ann.send("/second", second, preference="-1")
    (label,) = labels(store)
    assert label.answer.preference == -label.after_aid.preference != 0


def test_a_second_vote_is_asked_for_again_by_whoever_left_before_it(tmp_path: Path) -> None:
    """The task's page is that of the second vote, until it is given."""
    critiques = ("of first", "of second")
    items = [pair(n, critiques=critiques) for n in range(2)]
    store, app, secrets = open_project(tmp_path, items, show_critiques=True)
    Browser(app, secrets["ann"]).send(preference="1")
    ann = Browser(app, secrets["ann"])
    again = ann.page()
    assert "Do you still think so?" in again.text
    assert "of first" in again.text
    assert "of first" not in ann.send("/second", again, preference="-1").text
    (label,) = labels(store)
    assert label.answer.preference == -label.after_aid.preference != 0


def places(page: Page) -> list[tuple[str | None, str | None]]:
    """Letters of the answers as they stand on a page, each with the place chosen for it."""
    letters = [a["data-letter"] for a in page.named("section") if "data-letter" in a]
    chosen = [a["value"] for a in page.named("option") if "selected" in a]
    return list(zip(letters, chosen or [None] * len(letters), strict=True))


def test_a_second_vote_of_a_ranking_begins_with_the_order_of_the_first(tmp_path: Path) -> None:
    """Moving B up from C, A, B must give C, B, A. Each critique stays with its answer, and sent untouched, the vote."""
    item = Item(kind="rank", prompt=question("q"), responses=("r0", "r1", "r2"), critiques=("c0", "c1", "c2"))
    store, ann = ann_on(tmp_path, item, show_critiques=True)
    second = Page(ann.send(rank_0="2", rank_1="3", rank_2="1").text)
    assert places(second) == [("C", "1"), ("A", "2"), ("B", "3")]
    left, middle, right = labels(store)[0].order
    texts = [text for number in (right, left, middle) for text in (f"r{number}", f"c{number}")]
    assert sorted(texts, key=second.text.index) == texts
    ann.send("/second", second, rank_0="2", rank_1="3", rank_2="1")
    (label,) = labels(store)
    assert label.answer.tiers == label.after_aid.tiers == ((right,), (left,), (middle,))


def test_a_ranking_nobody_has_touched_is_refused(tmp_path: Path) -> None:
    """What a browser sends is the first option where none is selected: no place."""
    store, ann = ann_on(tmp_path, Item(kind="rank", prompt=question("q"), responses=("a", "b", "c")))
    page = ann.page()
    assert places(page) == [("A", None), ("B", None), ("C", None)]
    assert [a["value"] for a in page.named("option")] == ["", "1", "2", "3"] * 3
    refused = ann.send(page=page, rank_0="", rank_1="", rank_2="")
    assert refused.status_code == 400
    assert "Please give every answer a place" in refused.text
    assert labels(store) == []


def test_a_ranking_half_done_comes_back_as_it_was(tmp_path: Path) -> None:
    _, ann = ann_on(tmp_path, Item(kind="rank", prompt=question("q"), responses=("a", "b")))
    page = Page(ann.send(rank_0="2", rank_1="").text)
    assert [a["value"] for a in page.named("option") if "selected" in a] == ["2"]
    assert [a["data-letter"] for a in page.named("section") if "data-letter" in a] == ["A", "B"]


def test_a_reason_comes_back_as_it_was_typed(tmp_path: Path) -> None:
    """A Hebrew one may hold marks of direction; markup is still text."""
    reason = "\u05d8\u05d5\u05d1 C++\u200f </textarea><b>"
    store, ann = ann_on(tmp_path, pair(1, critiques=("of first", "of second")), show_critiques=True)
    pages = [ann.send(reason=reason), ann.send(preference="1", reason=reason)]
    for answer in pages:
        assert reason in Page(answer.text).text
        assert "<b>" not in answer.text
    ann.send("/second", Page(pages[1].text), preference="1", reason=reason)
    (label,) = labels(store)
    assert label.answer.reason == label.after_aid.reason == reason


def test_critiques_are_not_shown_where_the_project_does_not_say_so(tmp_path: Path) -> None:
    _, ann = ann_on(tmp_path, pair(1, critiques=("of first", "of second")))
    lease = ann.page().hidden("lease")
    assert "of first" not in ann.send(preference="1").text
    assert "of first" not in ann.client.get(f"/second/{lease}").text


def test_double_clicks_stale_tabs_and_the_back_button_make_one_label(tmp_path: Path) -> None:
    store, app, secrets = open_project(tmp_path, [pair(1), pair(2)])
    ann, other_tab = Browser(app, secrets["ann"]), Browser(app, secrets["ann"])
    page, stale = ann.page(), other_tab.page()
    assert page.hidden("lease") == stale.hidden("lease")
    ann.send(page=page, preference="2")
    ann.send(page=page, preference="-2")  # the same form again
    other_tab.send(page=stale, preference="-2")
    (label,) = labels(store)
    assert abs(label.answer.preference) == 2
    assert (label.answer.preference > 0) == (label.order[0] == 0)


def test_model_names_and_other_votes_are_on_no_page(tmp_path: Path) -> None:
    item = pair(1, sources=("secret-model-a", "secret-model-b"))
    _, app, secrets = open_project(tmp_path, [item], overlap=2)
    Browser(app, secrets["bo"]).send(preference="2", reason="the reason of bo")
    ann = Browser(app, secrets["ann"])
    for path in ("/", "/me", "/guidelines", "/second/1", "/quiz/1", "/dashboard", "/dashboard.json"):
        seen = ann.client.get(path).text
        assert "secret-model" not in seen
        assert "the reason of bo" not in seen
    assert ann.client.get("/dashboard").status_code == ann.client.get("/dashboard.json").status_code == 403


def test_the_lead_sees_how_far_it_is(tmp_path: Path) -> None:
    _, app, secrets = open_project(tmp_path, [pair(1), pair(2)], overlap=1)
    Browser(app, secrets["ann"]).send(preference="0")
    lead = Browser(app, secrets["lead"])
    assert lead.client.get("/dashboard.json").json()["counts"]["given"] == 1
    assert "How far it is" in lead.page().text


def test_attributes_are_ones_own_and_only_the_offered_choices(tmp_path: Path) -> None:
    offered = ({"name": "age", "choices": ("under 40", "40 or more")},)
    store, app, secrets = open_project(tmp_path, [pair(1)], attributes=offered)
    ann = Browser(app, secrets["ann"])
    ann.send("/me", ann.page("/me"), attribute_0="under 40")
    assert store.attributes() == {"ann": {"age": "under 40"}}
    ann.send("/me", ann.page("/me"), attribute_0="<b>")
    assert store.attributes() == {}


def test_when_nothing_is_left(tmp_path: Path) -> None:
    _, ann = ann_on(tmp_path, pair(1))
    assert "Nothing is left for you" in ann.send(preference="0").text


def test_a_second_vote_that_lacks_something_comes_back_with_the_critiques(tmp_path: Path) -> None:
    """Whoever could not judge before has nothing chosen yet, and may still be unable to judge."""
    store, ann = ann_on(tmp_path, pair(1, critiques=("of first", "of second")), show_critiques=True)
    second = Page(ann.send(too_hard="1").text)
    again = ann.send("/second", second)
    assert again.status_code == 400
    assert "say which answer is better" in again.text
    assert "of first" in again.text
    ann.send("/second", second, too_hard="1")
    (label,) = labels(store)
    assert label.after_aid == TooHard()


def test_serving_publishes_the_guidelines_and_opening_the_project_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, [])
    (tmp_path / "guidelines.md").write_text("# New rules\n")
    store = Store.open(tmp_path)
    assert store.guidelines()[0] == 1
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    with listen("127.0.0.1", 0) as listener:
        serve(store, listener, summarise=summarise)
    assert store.guidelines() == (2, "# New rules\n")


def test_a_page_that_is_not_there_shows_the_way_back(tmp_path: Path) -> None:
    """To those who have a task; not to a stranger with a wrong link."""
    _, ann = ann_on(tmp_path, pair(1))
    for path in ("/nowhere", "/quiz/x", "/guidelines?version=x"):
        found = ann.client.get(path)
        assert found.status_code == 404
        assert "To your task" in found.text
    assert "To your task" not in ann.client.get("/in/wrong").text
