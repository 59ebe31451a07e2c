"""The web application: which address does what. Pages are made on the server and work without scripts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from trimtab.errors import LabellingError, UserError
from trimtab.labelling import assignment, people
from trimtab.labelling.assignment import Task
from trimtab.labelling.people import Person
from trimtab.labelling.records import Turn
from trimtab.labelling.store import Store
from trimtab.labelling.web import forms
from trimtab.labelling.web.forms import Fields
from trimtab.labelling.web.guard import Attempts, Guard
from trimtab.labelling.web.pages import Pages

COOKIE = "trimtab_session"
SIGN_IN_AGAIN = "Please open your personal link again: you are signed out."

Summarise = Callable[[Store], dict[str, Any]]


class Model(Protocol):
    """What red-team dialogues are held with."""

    def __call__(self, turns: tuple[Turn, ...]) -> str:
        """The next message of the assistant."""


class Web:
    """The addresses of one project. Each is a method; `application` puts them together."""

    def __init__(self, store: Store, summarise: Summarise, model: Model | None) -> None:
        self.store, self.summarise, self.model = store, summarise, model
        self.pages = Pages(store)
        self.attempts = Attempts()

    # Signing in and out ---------------------------------------------------------------------------------------------

    def sign_in(self, secret: str, request: Request) -> Response:
        """A personal link."""
        address = request.client.host if request.client else ""
        if self.attempts.must_wait(address):
            page = self.pages.message("Too many tries", "Please wait a minute, then open your link again.", status=429)
            page.headers["retry-after"] = "60"
            return page
        session = people.sign_in(self.store, secret)
        if session is None:
            self.attempts.failed(address)
            raise HTTPException(403, "This link is not valid (any more). Ask whoever sent it for a new one.")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(
            COOKIE, session, httponly=True, samesite="lax", max_age=86400 * people.SESSION_DAYS, path="/",
            secure=request.url.scheme == "https",
        )
        return answer

    def sign_out(self, person: SignedIn, fields: Form) -> Response:
        """Close all of a person's sessions."""
        _check(person, fields)
        people.sign_out(self.store, person)
        answer = self.pages.message("Signed out", "To go on, open your personal link again.")
        answer.delete_cookie(COOKIE)
        return answer

    # Labelling ------------------------------------------------------------------------------------------------------

    def task(self, person: SignedIn) -> Response:
        """The next thing to label, or word that there is none."""
        if person.is_lead:
            return RedirectResponse("/dashboard", 303)
        task = assignment.next_task(self.store, person.id, now=time.time())
        progress = assignment.progress(self.store, person.id)
        if task is None:
            failed = not progress.in_quiz and not assignment.passed_quiz(self.store, person.id)
            return self.pages.nothing_left(person, progress, failed_quiz=failed)
        return self.pages.task(person, task, progress)

    def answer(self, person: SignedIn, fields: Form) -> Response:
        """An answer: taken once, however often it is sent."""
        _check(person, fields)
        task = self._task(person, fields)
        try:
            answer = forms.read_answer(task.item.kind, task.shown, fields, task.turns)
        except LabellingError as error:
            progress = assignment.progress(self.store, person.id)
            return self.pages.task(person, task, progress, problem=str(error), sent=fields)
        is_new = assignment.record(self.store, task.lease, person.id, answer, now=time.time())
        if task.item.is_quiz:
            return RedirectResponse(f"/quiz/{task.lease}", 303)
        if self._may_see_critiques(task) and is_new:
            return RedirectResponse(f"/second/{task.lease}", 303)
        return RedirectResponse("/", 303)

    def quiz(self, lease: int, person: SignedIn) -> Response:
        """What would have been right, after an item of the quiz."""
        task = self._own(person, lease)
        if not task.item.is_quiz or task.first_vote is None:
            return RedirectResponse("/", 303)
        return self.pages.quiz(person, task, assignment.progress(self.store, person.id))

    def second(self, lease: int, person: SignedIn) -> Response:
        """The same task with critiques, for a second vote."""
        task = self._own(person, lease)
        if not self._may_see_critiques(task) or task.first_vote is None:
            return RedirectResponse("/", 303)
        return self.pages.task(person, task, assignment.progress(self.store, person.id), second=True)

    def second_answer(self, person: SignedIn, fields: Form) -> Response:
        """The vote after the critiques."""
        _check(person, fields)
        task = self._task(person, fields)
        if self._may_see_critiques(task) and task.first_vote is not None:
            answer = forms.read_answer(task.item.kind, task.shown, fields)
            assignment.record_second(self.store, task.lease, person.id, answer)
        return RedirectResponse("/", 303)

    def draft(self, person: SignedIn, fields: Form) -> Response:
        """What was typed so far."""
        _check(person, fields)
        text = forms.first(fields, "text")[: forms.LONGEST_TEXT]
        assignment.keep_draft(self.store, self._task(person, fields).lease, person.id, text)
        return Response(status_code=204)

    def turn(self, person: SignedIn, fields: Form) -> Response:
        """A message to the model in a red-team dialogue, and its reply."""
        _check(person, fields)
        task, said = self._task(person, fields), forms.first(fields, "message").strip()
        known = forms.first(fields, "turns")
        if self.model is None:
            raise LabellingError("There is no model to talk to: the lead starts it with --model.")
        if said and known == str(len(task.turns)):
            asked = Turn(role="user", content=said)
            reply = Turn(role="assistant", content=self.model((*task.item.prompt, *task.turns, asked)))
            assignment.add_turns(self.store, task.lease, person.id, (asked, reply), after=len(task.turns))
        return RedirectResponse("/", 303)

    # Reading --------------------------------------------------------------------------------------------------------

    def guidelines(self, person: SignedIn, version: int | None = None) -> Response:
        """The guidelines, newest or of a version."""
        return self.pages.guidelines(person, *self.store.guidelines(version))

    def about_me(self, person: SignedIn) -> Response:
        """A person's own progress and what they said of themselves."""
        progress = assignment.progress(self.store, person.id)
        return self.pages.about_me(person, progress, people.own_attributes(self.store, person))

    def describe_me(self, person: SignedIn, fields: Form) -> Response:
        """What a person says of themselves."""
        _check(person, fields)
        said = {a.name: forms.first(fields, f"attribute_{i}") for i, a in enumerate(self.store.settings.attributes)}
        people.describe(self.store, person, said)
        return RedirectResponse("/me", 303)

    def dashboard(self, lead: Lead) -> Response:
        """For the lead: how far it is, and how good."""
        return self.pages.dashboard(lead, self.summarise(self.store))

    def dashboard_json(self, _: Lead) -> Response:
        """The same numbers for a script."""
        return JSONResponse(self.summarise(self.store))

    # Parts ----------------------------------------------------------------------------------------------------------

    def _task(self, person: Person, fields: Fields) -> Task:
        number = forms.first(fields, "lease")
        if not number.isdecimal() or len(number) > 18:
            raise LabellingError("That form is not one of ours. Please go back to your task.")
        return self._own(person, int(number))

    def _own(self, person: Person, lease: int) -> Task:
        return assignment.task_of(self.store, lease, person.id)

    def _may_see_critiques(self, task: Task) -> bool:
        return self.store.settings.show_critiques and bool(task.item.critiques) and not task.item.is_quiz


def signed_in(request: Request) -> Person:
    """Who asks. Raises 401 when nobody is signed in."""
    person = people.whose(request.app.state.web.store, request.cookies.get(COOKIE, ""))
    if person is None:
        raise HTTPException(401, SIGN_IN_AGAIN)
    return person


def lead(person: Annotated[Person, Depends(signed_in)]) -> Person:
    """The lead. Raises 403 for anyone else."""
    if not person.is_lead:
        raise HTTPException(403, "This page is for the lead of the project.")
    return person


async def form(request: Request) -> Fields:
    """The fields of the form that was sent."""
    sent = await request.form(max_fields=100, max_files=0, max_part_size=forms.LONGEST_TEXT * 3)
    return {name: [str(value) for value in sent.getlist(name)] for name in sent}


SignedIn = Annotated[Person, Depends(signed_in)]
Lead = Annotated[Person, Depends(lead)]
Form = Annotated[Fields, Depends(form)]


def application(
    store: Store, summarise: Summarise, model: Model | None = None, hosts: frozenset[str] = frozenset()
) -> Any:
    """The ASGI application of a project. `hosts` are the names it goes by; empty means any."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    web = Web(store, summarise, model)
    app.state.web = web
    get, post = ["GET"], ["POST"]
    for path, method, methods in (
        ("/in/{secret}", web.sign_in, get),
        ("/out", web.sign_out, post),
        ("/", web.task, get),
        ("/answer", web.answer, post),
        ("/quiz/{lease}", web.quiz, get),
        ("/second/{lease}", web.second, get),
        ("/second", web.second_answer, post),
        ("/draft", web.draft, post),
        ("/turn", web.turn, post),
        ("/guidelines", web.guidelines, get),
        ("/me", web.about_me, get),
        ("/me", web.describe_me, post),
        ("/dashboard", web.dashboard, get),
        ("/dashboard.json", web.dashboard_json, get),
    ):
        app.add_api_route(path, method, methods=methods, response_model=None)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))

    @app.exception_handler(StarletteHTTPException)
    def refused(_: Request, error: StarletteHTTPException) -> Response:
        return web.pages.message("That did not work", str(error.detail), status=error.status_code)

    @app.exception_handler(UserError)
    def wrong(_: Request, error: UserError) -> Response:
        return web.pages.message("That did not work", str(error), status=400)

    return Guard(app, hosts)


def _check(person: Person, fields: Fields) -> None:
    """Refuse a form that was not made for this session."""
    if not people.is_genuine(person, forms.first(fields, "form_secret")):
        raise HTTPException(403, "That form is out of date. Please go back to your task and send it again.")
