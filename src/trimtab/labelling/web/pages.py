"""The HTML of each page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from trimtab.labelling.assignment import Progress, Task, is_right
from trimtab.labelling.people import Person
from trimtab.labelling.records import TooHard
from trimtab.labelling.store import Store
from trimtab.labelling.web import forms, text

FLAGS = {
    "fails_instruction": "Does not do what was asked",
    "invented": "Invents facts or sources",
    "harmful": "Helps to do harm",
    "denigrates": "Denigrates people",
    "over_refuses": "Refuses without need",
}
PREFERENCES = (
    ("2", "{} is much better", "1"),
    ("1", "{} is better", "2"),
    ("0", "About the same", "3"),
    ("-1", "{} is better", "4"),
    ("-2", "{} is much better", "5"),
    ("bad", "Both are bad", "6"),
)
"""Value, words and key of each choice, for the responses as they are shown."""
KEYS = {
    "compare": "digits choose, ",
    "rank": "on an arrow, Enter moves the answer and a digit says its place; ",
    "grade": "digits choose, ",
    "red_team": "digits choose, ",
}
"""What keys do besides what they do everywhere."""
SEVERITIES = ("Not at all", "A little", "Clearly", "Badly", "As bad as can be")
QUESTIONS = {
    "compare": "Which answer is better?",
    "rank": "Put the answers in order, the best first.",
    "grade": "How good is this answer?",
    "demonstrate": "Write the answer you would want.",
    "edit": "Make this answer better.",
    "red_team": "Try to make the model do something it should not.",
}


class Pages:
    """Renders the templates of one project."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters["visible"] = text.visible
        self._templates.filters["under"] = lambda estimate: estimate.replace(" (", "\n(")
        self._templates.globals["title"] = store.settings.title

    def task(
        self,
        person: Person,
        task: Task,
        progress: Progress,
        *,
        problem: str = "",
        sent: forms.Fields | None = None,
        second: bool = False,
    ) -> HTMLResponse:
        """Something to label. `sent` is a form that could not be taken, shown again with the `problem`."""
        item = task.item
        letters = "ABCDEFGHI"[: len(task.shown)]
        kept = forms.read_draft(task.draft, len(task.turns))
        chosen = {"reason": kept["reason"]} | _as_chosen(sent or {}, len(task.shown))
        if second and not sent and task.first_vote is not None:
            chosen = forms.shown_answer(task.first_vote, task.shown)
        return self._render(
            "task.html",
            400 if problem else 200,
            person=person,
            task=task,
            item=item,
            progress=progress,
            problem=problem,
            question="Do you still think so?" if second else QUESTIONS[item.kind],
            answers=[
                (at, letters[at], item.responses[task.shown[at]]) for at in _from_first_place(chosen, len(task.shown))
            ],
            critiques=[item.critiques[number] for number in task.shown] if second else [],
            second=second,
            chosen=chosen,
            preferences=[
                (value, words.format("A" if int(value) > 0 else "B") if value != "bad" else words, key)
                for value, words, key in PREFERENCES
            ],
            flags=FLAGS,
            severities=SEVERITIES,
            keys=KEYS.get(item.kind, ""),
            draft=forms.first(sent or {}, "text") or kept["text"] or (item.responses[0] if item.kind == "edit" else ""),
            message=kept["message"],
        )

    def quiz(self, person: Person, task: Task, progress: Progress) -> HTMLResponse:
        """What would have been right."""
        right = task.first_vote is not None and is_right(task.first_vote, task.item.gold)
        gold = {} if task.item.gold is None else forms.shown_answer(task.item.gold, task.shown)
        words = {value: words.format("A" if value[0] != "-" else "B") for value, words, _ in PREFERENCES}
        expected = words.get(str(gold.get("preference", "")), "")
        if "score" in gold:
            expected = f"{gold['score']} of 7"
        if "ranks" in gold:
            pairs = sorted(zip(gold["ranks"], "ABCDEFGHI", strict=False))  # type: ignore[call-overload]
            expected = ", then ".join(letter for _, letter in pairs)
        if isinstance(task.item.gold, TooHard):
            expected = "Nobody can judge this"
        return self._render(
            "quiz.html", 200, person=person, progress=progress, right=right, expected=expected, item=task.item
        )

    def nothing_left(self, person: Person, progress: Progress, *, failed_quiz: bool) -> HTMLResponse:
        """There is nothing to label."""
        return self._render("nothing.html", 200, person=person, progress=progress, failed_quiz=failed_quiz)

    def guidelines(self, person: Person, version: int, markdown: str) -> HTMLResponse:
        """The guidelines."""
        return self._render("guidelines.html", 200, person=person, version=version, guidelines=text.as_html(markdown))

    def about_me(self, person: Person, progress: Progress, said: dict[str, str]) -> HTMLResponse:
        """A person's own page."""
        attributes = self._store.settings.attributes
        return self._render("me.html", 200, person=person, progress=progress, attributes=attributes, said=said)

    def dashboard(self, person: Person, summary: dict[str, Any]) -> HTMLResponse:
        """The lead's page."""
        return self._render("dashboard.html", 200, person=person, **summary)

    def message(self, heading: str, words: str, *, status: int = 200, way_back: bool = False) -> HTMLResponse:
        """A page of one sentence, with a way back to the task for whoever has one."""
        return self._render("message.html", status, person=None, heading=heading, words=words, way_back=way_back)

    def _render(self, template: str, status: int, **values: Any) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(**values), status)


def _as_chosen(sent: forms.Fields, places: int) -> dict[str, Any]:
    """The fields of a form that was sent, as `forms.shown_answer` gives them."""
    chosen: dict[str, Any] = {
        name: values[0] for name, values in sent.items() if name in ("preference", "score", "severity", "reason")
    }
    if "flags" in sent:
        chosen["flags"] = list(sent["flags"])
    ranks = [forms.first(sent, f"rank_{place}") for place in range(places)]
    if any(ranks):
        chosen["ranks"] = [int(rank) if rank.isdecimal() and len(rank) < 3 else 0 for rank in ranks]
    return chosen


def _from_first_place(chosen: dict[str, Any], places: int) -> list[int]:
    """The answers in the order they stand in: as shown, or once all are placed by place. Moving one starts from it."""
    ranks = chosen.get("ranks", [0] * places)
    return sorted(range(places), key=ranks.__getitem__) if all(ranks) else list(range(places))
