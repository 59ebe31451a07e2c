"""The pages in a real browser: each kind of task by mouse and by keyboard, several people, several tabs, a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.labelling.browser import open_project
from tests.labelling.chromium import CHROMEDRIVER, CHROMIUM, Chromium, served, until
from tests.labelling.world import gold_pair, graded, pair, question, quiz_pair

from trimtab.labelling.records import Answer, Compared, Graded, Item, Label, Ranked, RedTeamed, TooHard, Turn, Written
from trimtab.labelling.store import Store

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver on the PATH"),
]

ITEMS = {
    "compare": pair(1, critiques=("of the first", "of the second")),
    "rank": Item(kind="rank", prompt=question("q"), responses=("zero", "one\n" * 3, "two")),
    "grade": graded(1),
    "demonstrate": Item(kind="demonstrate", prompt=question("q")),
    "edit": Item(kind="edit", prompt=question("q"), responses=("speling",)),
    "red_team": Item(kind="red_team"),
}


def reply(turns: tuple[Turn, ...]) -> str:
    """The model of these tests."""
    return f"reply {len(turns)}"


@pytest.fixture(scope="module")
def chromiums() -> Iterator[list[Chromium]]:
    """Browsers, as many as tests have asked for so far."""
    started: list[Chromium] = []
    yield started
    for one in started:
        one.quit()


@pytest.fixture
def people(tmp_path: Path, chromiums: list[Chromium]) -> Iterator[Callable[..., Any]]:
    """Opens a project with these items, and gives its store and a signed-in browser for each name.

    At the end no browser may have complained of anything: no error of a script, nothing the policy forbids.
    """
    used: list[Chromium] = []
    with ExitStack() as stack:

        def opened(items: list[Item], *names: str, **settings: Any) -> Any:
            store, _, secrets = open_project(tmp_path / "project", items, **settings)
            base = stack.enter_context(served(store, reply))
            for place, name in enumerate(names):
                if place == len(chromiums):
                    chromiums.append(Chromium())
                used.append(chromiums[place])
                used[-1].shape()
                used[-1].sign_in(base, secrets[name])
            return store, *used

        yield opened
    assert [complaint for one in used for complaint in one.complaints()] == []


def labels(store: Store) -> list[Label]:
    return [label for entry in store.labelled_items() for label in entry.labels]


# Each kind, by mouse and by keyboard --------------------------------------------------------------------------------


def as_shown(label: Label, *letters: str) -> tuple[tuple[int, ...], ...]:
    """Tiers of letters as tiers of the item's own responses."""
    return tuple(tuple(sorted(label.order["ABC".index(letter)] for letter in tier)) for tier in letters)


def compare_by_mouse(ann: Chromium) -> None:
    ann.choose("preference", "2")
    ann.find("#reason").send_keys("because")


def compare_by_keyboard(ann: Chromium) -> None:
    ann.keys("1")
    ann.tab_to("#reason")
    ann.keys("because")


def compared(label: Label) -> Answer:
    return Compared(preference=2 if label.order[0] == 0 else -2, reason="because")


def rank_by_mouse(ann: Chromium) -> None:
    """From A B C, C is dragged onto A's upper half, then B is moved up by its arrow: C B A."""
    ann.drag("[data-letter=C] h2", onto="[data-letter=A] h2")
    assert "The order is C, A, B." in ann.text
    ann.click("[data-letter=B] [data-move='-1']")


def rank_by_keyboard(ann: Chromium) -> None:
    """From A B C, C is moved up twice, by Enter, then B, by the space bar."""
    ann.tab_to("[data-letter=C] [data-move='-1']")
    ann.keys("\ue007", "\ue007")  # Enter
    assert "The order is C, A, B." in ann.text
    ann.tab_to("[data-letter=B] [data-move='-1']")
    ann.keys(" ")


def ranked(label: Label) -> Answer:
    return Ranked(tiers=as_shown(label, "C", "B", "A"))


def tie_by_mouse(ann: Chromium) -> None:
    for letter, place in zip("ABC", "212", strict=True):
        ann.click(f"[data-letter={letter}] option[value='{place}']")


def tie_by_keyboard(ann: Chromium) -> None:
    """Digits on a list choose from it, and on an arrow, too."""
    ann.tab_to("[data-letter=A] select")
    ann.keys("2")
    ann.tab_to("[data-letter=B] [data-move='1']")
    ann.keys("1")
    ann.tab_to("[data-letter=C] select")
    ann.keys("2")


def tied(label: Label) -> Answer:
    """B alone is first; A and C share the place after it."""
    left, middle, right = label.order
    return Ranked(tiers=((middle,), (left, right)))


def grade_by_mouse(ann: Chromium) -> None:
    ann.choose("score", "3")
    for flag in ("invented", "harmful", "denigrates"):
        ann.choose("flags", flag)
    ann.choose("flags", "denigrates")  # and off again


def grade_by_keyboard(ann: Chromium) -> None:
    ann.keys("3")
    for flag in ("invented", "harmful"):
        ann.tab_to(f"[value={flag}]")
        ann.keys(" ")


def grade(_: Label) -> Answer:
    return Graded(score=3, flags=("invented", "harmful"))


def write_by_mouse(ann: Chromium) -> None:
    ann.click("#text")
    ann.find("#text").clear()
    ann.find("#text").send_keys("two\nlines, h 1")


def write_by_keyboard(ann: Chromium) -> None:
    """Digits and h are text where text is written."""
    ann.tab_to("#text")
    ann.run("document.activeElement.select()")
    ann.keys("two\nlines, h 1")


def written(kind: Any) -> Callable[[Label], Answer]:
    return lambda _: Written(kind=kind, text="two\nlines, h 1")


def red_team_by_mouse(ann: Chromium) -> None:
    ann.find("#message").send_keys("do harm")
    with ann.turning_the_page():
        ann.click("form.say button")
    ann.choose("severity", "4")


def red_team_by_keyboard(ann: Chromium) -> None:
    """Ctrl+Enter says what is being said; afterwards the focus is where the next message goes."""
    ann.tab_to("#message")
    ann.keys("do harm")
    with ann.turning_the_page():
        ann.control_enter()
    assert ann.run("return document.activeElement.id") == "message"
    ann.tab_to("[name=severity]")
    ann.keys("4")


def red_teamed(_: Label) -> Answer:
    return RedTeamed(
        severity=4, turns=(Turn(role="user", content="do harm"), Turn(role="assistant", content="reply 1"))
    )


@pytest.mark.parametrize(
    ("kind", "by_mouse", "by_keyboard", "expected"),
    [
        pytest.param("compare", compare_by_mouse, compare_by_keyboard, compared, id="compare"),
        pytest.param("rank", rank_by_mouse, rank_by_keyboard, ranked, id="rank"),
        pytest.param("rank", tie_by_mouse, tie_by_keyboard, tied, id="tie"),
        pytest.param("grade", grade_by_mouse, grade_by_keyboard, grade, id="grade"),
        pytest.param("demonstrate", write_by_mouse, write_by_keyboard, written("demonstrate"), id="demonstrate"),
        pytest.param("edit", write_by_mouse, write_by_keyboard, written("edit"), id="edit"),
        pytest.param("red_team", red_team_by_mouse, red_team_by_keyboard, red_teamed, id="red_team"),
    ],
)
def test_each_kind_by_mouse_and_by_keyboard(
    people: Any, kind: str, by_mouse: Any, by_keyboard: Any, expected: Callable[[Label], Answer]
) -> None:
    """Ann has only a mouse (and writes), Bo only a keyboard. They are at it at the same time."""
    store, ann, bo = people([ITEMS[kind]], "ann", "bo")
    by_mouse(ann)
    by_keyboard(bo)
    with ann.turning_the_page():
        ann.click("form.task .primary")
    with bo.turning_the_page():
        bo.control_enter()
    found = labels(store)
    assert [label.annotator for label in found] == ["ann", "bo"]
    assert [label.answer for label in found] == [expected(label) for label in found]
    assert ann.heading == bo.heading == "Nothing is left for you"


def test_what_cannot_be_judged_takes_one_key(people: Any) -> None:
    """Pressed twice or held down, it does not say the same of the next task, which nobody has read yet."""
    store, ann = people([graded(1), graded(2)], "ann")
    with ann.turning_the_page():
        ann.keys("h", "h")
    held = "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'h', bubbles: true, repeat: true}));"
    assert ann.run(held + "return document.querySelector('form.task').dataset.sent") is None
    assert [label.answer for label in labels(store)] == [TooHard()]
    assert ann.heading == "How good is this answer?"


# What goes wrong ----------------------------------------------------------------------------------------------------


SEND_TWICE = """
const seen = [], form = document.querySelector("form.task"), send = form.querySelector(".primary");
form.addEventListener("submit", (event) => seen.push(event.defaultPrevented));
send.click(); send.click();
return seen;
"""
SEND_AT_ONCE = "document.addEventListener('DOMContentLoaded', () => document.querySelector('.primary')?.click())"


def edits(number: int) -> list[Item]:
    """Tasks that can be sent as they come: they begin with the response."""
    return [Item(kind="edit", prompt=question(str(n)), responses=("zero",)) for n in range(number)]


def test_a_double_click_on_send_sends_once(people: Any) -> None:
    store, ann = people(edits(2), "ann")
    with ann.turning_the_page():
        assert ann.run(SEND_TWICE) == [False, True]
    with ann.turning_the_page():
        ann.double_click("form.task .primary")
    assert len(labels(store)) == 2


def test_the_second_click_does_not_send_the_next_task(people: Any) -> None:
    """The click comes down as soon as the next page is there."""
    store, ann = people(edits(2), "ann")
    script = ann.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SEND_AT_ONCE})
    with ann.turning_the_page():
        ann.click("form.task .primary")
    ann.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    assert ann.heading == "Make this answer better."
    assert len(labels(store)) == 1
    ann.driver.refresh()
    until(lambda: not ann.all("form.task[data-sent]"), "the page takes clicks")
    with ann.turning_the_page():
        ann.click("form.task .primary")
    assert len(labels(store)) == 2


def test_two_tabs_a_stale_tab_and_the_back_button_make_one_label(people: Any) -> None:
    store, ann = people([pair(1), pair(2)], "ann")
    first = ann.driver.current_window_handle
    ann.driver.switch_to.new_window("tab")
    ann.open()
    ann.choose("preference", "2")
    with ann.turning_the_page():
        ann.click("form.task .primary")
    (label,) = labels(store)
    ann.driver.back()
    ann.ready()
    assert "question" in ann.text
    assert ann.run("return document.querySelectorAll(':checked').length") == 0  # the next task, not the old choice
    ann.driver.close()
    ann.driver.switch_to.window(first)  # still shows the first task
    ann.choose("preference", "-2")
    with ann.turning_the_page():
        ann.click("form.task .primary")
    assert labels(store) == [label]


def test_a_draft_survives_closing_the_tab_in_the_middle_of_a_word(people: Any) -> None:
    store, ann = people([ITEMS["demonstrate"]], "ann")
    first = ann.driver.current_window_handle
    ann.driver.switch_to.new_window("tab")
    ann.open()
    ann.find("#text").send_keys("a kept sen")
    ann.driver.close()
    ann.driver.switch_to.window(first)
    until(
        lambda: store.read("SELECT draft FROM leases")[0]["draft"].startswith("text=a+kept+sen&"), "the draft is kept"
    )
    ann.open()
    assert ann.find("#text").get_property("value") == "a kept sen"
    ann.find("#text").send_keys("tence")
    until(lambda: "Your draft is kept." in ann.text, "the page says so")
    with ann.turning_the_page():
        ann.control_enter()
    assert [label.answer for label in labels(store)] == [Written(kind="demonstrate", text="a kept sentence")]


def test_drafts_of_a_message_and_a_reason(people: Any) -> None:
    """What has been said does not come back as a draft, however soon it was sent."""
    _, ann = people([ITEMS["red_team"]], "ann")
    for said in ("do harm", "more"):
        ann.find("#message").send_keys(said)
        ann.find("#reason").send_keys(said)
        until(lambda: "Your draft is kept." in ann.text, "the page says so")
        ann.open()
        assert ann.find("#message").get_property("value") == said
        ann.find("#message").send_keys("!")
        with ann.turning_the_page():
            ann.click("form.say button")
        ann.open()
        assert ann.find("#message").get_property("value") == ""
    assert ann.find("#reason").get_property("value") == "do harmmore"


def test_what_is_missing_is_said_and_what_was_written_stays(people: Any) -> None:
    store, ann = people([pair(1)], "ann")
    ann.find("#reason").send_keys("because")
    with ann.turning_the_page():
        ann.control_enter()
    assert "say which answer is better" in ann.find("[role=alert]").text
    assert ann.find("#reason").get_property("value") == "because"
    assert labels(store) == []
    assert all("status of 400" in complaint for complaint in ann.complaints())


def test_a_ranking_nobody_has_touched_is_refused(people: Any) -> None:
    """The arrow of the answer that is first already says that the order is right as it stands."""
    store, ann = people([ITEMS["rank"]], "ann")
    with ann.turning_the_page():
        ann.control_enter()
    assert "every answer a place" in ann.find("[role=alert]").text
    assert labels(store) == []
    ann.tab_to("[data-letter=A] [data-move='-1']")
    ann.keys("\ue007")  # Enter
    assert "The order is A, B, C." in ann.text
    with ann.turning_the_page():
        ann.control_enter()
    assert [label.answer for label in labels(store)] == [Ranked(tiers=as_shown(labels(store)[0], "A", "B", "C"))]
    assert all("status of 400" in complaint for complaint in ann.complaints())


# Courses of a project -----------------------------------------------------------------------------------------------


def test_the_quiz_then_the_work(people: Any) -> None:
    """Two questions; the one got wrong is explained, and half of them right is enough here."""
    store, ann = people([quiz_pair(1), quiz_pair(2), pair(3)], "ann", quiz_pass=0.5)
    for wrong in (False, True):
        left_is_better = "first" in ann.find("[data-letter=A]").text
        ann.choose("preference", "1" if left_is_better != wrong else "-1")
        with ann.turning_the_page():
            ann.click("form.task .primary")
        assert ann.heading == ("Not quite" if wrong else "That is right")
        assert "The first is right." in ann.text
        with ann.turning_the_page():
            ann.click("a.button")
    assert "question 3" in ann.text
    assert len(labels(store)) == 2


def test_the_second_vote_after_the_critiques(people: Any) -> None:
    store, ann, bo = people([ITEMS["compare"]], "ann", "bo", show_critiques=True)
    for who, first, second in ((ann, "1", "5"), (bo, "h", "")):
        assert "of the first" not in who.text
        with who.turning_the_page():
            who.keys(first)
            if first != "h":
                who.control_enter()
        assert who.heading == "Do you still think so?"
        assert "of the first" in who.text
        with who.turning_the_page():
            if second:
                who.keys(second)
                who.control_enter()
            else:
                who.click("[name=too_hard]")
    of_ann, of_bo = labels(store)
    assert (of_ann.answer.preference, of_ann.after_aid.preference) == ((2, -2) if of_ann.order[0] == 0 else (-2, 2))
    assert of_bo.answer == of_bo.after_aid == TooHard()


def test_the_second_vote_of_a_ranking_starts_from_the_first(people: Any) -> None:
    """First C, A, B; then B is moved up over A."""
    item = ITEMS["rank"].model_copy(update={"critiques": ("of zero", "of one", "of two")})
    store, ann = people([item], "ann", show_critiques=True)
    ann.drag("[data-letter=C] h2", onto="[data-letter=A] h2")
    with ann.turning_the_page():
        ann.click("form.task .primary")
    ann.click("[data-letter=B] [data-move='-1']")
    assert "The order is C, B, A." in ann.text
    with ann.turning_the_page():
        ann.click("form.task .primary")
    (label,) = labels(store)
    assert label.answer == Ranked(tiers=as_shown(label, "C", "A", "B"))
    assert label.after_aid == Ranked(tiers=as_shown(label, "C", "B", "A"))


def test_two_at_once_and_what_the_lead_then_reads(people: Any) -> None:
    """Ann and Bo take turns at two pairs and a known one: two votes each, seen by the lead as 4 of 4."""
    store, ann, bo, lead = people([pair(1), pair(2), gold_pair(3)], "ann", "bo", "lead", gold_share=0.5)
    for _ in range(3):
        for who in (ann, bo):
            better = "1" if "first" in who.find("[data-letter=A]").text else "5"
            who.keys(better)
            with who.turning_the_page():
                who.control_enter()
    assert len(labels(store)) == 6
    lead.open("/dashboard")
    assert lead.run("return [...document.querySelectorAll('.tiles dd')].slice(0, 2).map((one) => one.innerText)") == [
        "2\nof 2",
        "4\nof 4",
    ]
    people_table = lead.run("return [...document.querySelectorAll('tbody th')].map((one) => one.innerText)")
    assert {"ann", "bo"} <= set(people_table)


# How it looks and reads ---------------------------------------------------------------------------------------------

TEXT_ON = [
    ("--ink", "--paper"),
    ("--ink", "--card"),
    ("--ink", "--mark"),
    ("--soft", "--paper"),
    ("--soft", "--card"),
    ("--soft", "--mark"),
    ("--accent", "--paper"),
    ("--accent-ink", "--accent"),
    ("--bad", "--paper"),
]


def luminance(colour: tuple[int, int, int]) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2, definition of that name)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """1 for equal colours, 21 for black on white (WCAG 2.2, contrast ratio)."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_colours() -> None:
    """Black on white is 1.05 / 0.05 = 21; #777777 on white is the well-known 4.48 that just fails 4.5."""
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((0x77, 0x77, 0x77), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_edges_stand_out(people: Any, scheme: str) -> None:
    """4.5 for text and 3 for the edges of what can be clicked (WCAG 2.2, criteria 1.4.3 and 1.4.11)."""
    _, ann = people([pair(1)], "ann")
    ann.shape(scheme=scheme)
    page = ann.run("return getComputedStyle(document.body).backgroundColor")
    assert page == "rgb({}, {}, {})".format(*ann.colour("--paper"))
    assert (luminance(ann.colour("--paper")) < 0.5) == (scheme == "dark")
    faint = {pair: contrast(ann.colour(pair[0]), ann.colour(pair[1])) for pair in TEXT_ON}
    assert {pair: ratio for pair, ratio in faint.items() if ratio < 4.5} == {}
    assert min(contrast(ann.colour("--edge"), ann.colour(ground)) for ground in ("--paper", "--card")) >= 3


UNNAMED = """
return [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button")]
  .filter((one) => !one.labels?.length && !one.textContent.trim() && !one.ariaLabel).map((one) => one.outerHTML)
"""
HEADINGS = "return [...document.querySelectorAll('main h1, main h2, main h3')].map((one) => one.tagName)"
TARGETS = """
return [...document.querySelectorAll("main button, main select, main .choices label")]
  .filter((one) => one.getBoundingClientRect().height < 44 || one.getBoundingClientRect().width < 36)
  .map((one) => one.outerHTML)
"""


@pytest.mark.parametrize("kind", ITEMS)
def test_pages_on_a_narrow_phone_and_for_a_screen_reader(people: Any, kind: str) -> None:
    """Nothing scrolls sideways at 360 pixels, even with a word longer than a line; all has a name and can be hit."""
    item = ITEMS[kind].model_copy(update={"prompt": question("b" * 200 + "\n" + "a line\n" * 80)})
    _, ann = people([item], "ann", title="A title that is long enough to need more than one line on a phone")
    ann.shape(360, 780)
    ann.open()
    assert ann.run("return document.documentElement.scrollWidth") <= 360
    assert ann.run("return [...document.querySelectorAll('.text')].every((one) => one.scrollWidth <= one.clientWidth)")
    assert ann.run(UNNAMED) == []
    assert ann.run(TARGETS) == []
    headings = ann.run(HEADINGS)
    assert headings[0] == "H1"
    assert headings.count("H1") == 1
    assert ann.run("return document.documentElement.lang") == "en"


def test_tab_goes_through_the_page_as_one_reads_it(people: Any) -> None:
    """The way past the navigation first; the prompt, which scrolls; the verdict, the reason, then sending."""
    _, ann = people([Item(kind="compare", prompt=question("a line\n" * 80), responses=("x", "y"))], "ann")
    ann.run("document.activeElement.blur()")
    stops = [len(ann.tab_to(css)) for css in (".skip", ".prompt .text", "[name=preference]", "#reason", ".primary")]
    assert stops == [0, 4, 0, 0, 0]  # four: task, guidelines, oneself, signing out
    ann.tab_to("[name=too_hard]")


def test_the_way_past_the_navigation(people: Any) -> None:
    _, ann = people([ITEMS["demonstrate"]], "ann")
    ann.tab_to(".skip")
    ann.keys("\ue007")
    assert ann.tab_to("#text") == []


def test_other_pages_on_a_narrow_phone(people: Any) -> None:
    offered = ({"name": "age", "choices": ("under 40", "40 or more")},)
    _, ann, lead = people([pair(1)], "ann", "lead", attributes=offered)
    for who, paths in ((ann, ("/me", "/guidelines")), (lead, ("/dashboard", "/guidelines"))):
        who.shape(360, 780)
        for path in paths:
            who.open(path)
            assert who.run("return document.documentElement.scrollWidth") <= 360
            assert who.run(UNNAMED) == []
            assert who.run(HEADINGS)[0] == "H1"


def test_pages_work_without_scripts(people: Any) -> None:
    store, ann = people([ITEMS["rank"]], "ann")
    ann.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        ann.driver.get(ann.base)
        for letter, place in zip("ABC", "212", strict=True):
            ann.find(f"#rank-{'ABC'.index(letter)}").send_keys(place)
        ann.click("form.task .primary")
        until(lambda: labels(store), "the ranking has come")
    finally:
        ann.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    (label,) = labels(store)
    assert label.answer == tied(label)
