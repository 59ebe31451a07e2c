"""The web application: which address does what. Pages are made on the server and work without scripts."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Protocol

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

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

FORM = "application/x-www-form-urlencoded"
LONGEST_MESSAGE = 20_000
SIGN_IN_AGAIN = "Please open your personal link again: you are signed out."

Summarise = Callable[[Store], dict[str, Any]]


class Model(Protocol):
    """What red-team dialogues are held with."""

    def __call__(self, turns: tuple[Turn, ...]) -> str:
        """The next message of the assistant."""


def cookie_name(store: Store) -> str:
    """A name of the project's own: browsers send cookies to all ports of a host, where other projects may be."""
    return f"trimtab_{hashlib.sha256(str(store.folder.resolve()).encode()).hexdigest()[:12]}"


class Web:
    """The addresses of one project. Each is a method; `application` puts them together."""

    def __init__(self, store: Store, summarise: Summarise, model: Model | None) -> None:
        self.store, self.summarise, self.model = store, summarise, model
        self.cookie = cookie_name(store)
        self.pages = Pages(store)
        self.attempts = Attempts()
        self._line = CapacityLimiter(1)
        self._talking: set[int] = set()

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
            self.cookie,
            session,
            httponly=True,
            samesite="lax",
            max_age=86400 * people.SESSION_DAYS,
            path="/",
            secure=request.url.scheme == "https",
        )
        return answer

    def sign_out(self, person: SignedIn, sent: Sent) -> Response:
        """Close all of a person's sessions."""
        _genuine(person, sent)
        people.sign_out(self.store, person)
        answer = self.pages.message("Signed out", "To go on, open your personal link again.")
        answer.delete_cookie(self.cookie)
        return answer

    # Labelling ------------------------------------------------------------------------------------------------------

    def task(self, person: SignedIn) -> Response:
        """The next thing to label, a second vote that is still to come first, or word that there is none."""
        if person.is_lead:
            return RedirectResponse("/dashboard", 303)
        task = assignment.next_task(self.store, person.id, now=time.time())
        progress = assignment.progress(self.store, person.id)
        if task is None:
            failed = not progress.in_quiz and not assignment.passed_quiz(self.store, person.id)
            return self.pages.nothing_left(person, progress, failed_quiz=failed)
        return self.pages.task(person, task, progress, second=task.first_vote is not None)

    def answer(self, person: SignedIn, sent: Sent) -> Response:
        """An answer: taken once, however often it is sent."""
        fields = _genuine(person, sent)
        task = self._task(person, fields)
        try:
            answer = forms.read_answer(task.item.kind, task.shown, fields, task.turns)
        except LabellingError as error:
            progress = assignment.progress(self.store, person.id)
            return self.pages.task(person, task, progress, problem=str(error), sent=fields)
        assignment.record(self.store, task.lease, person.id, answer, now=time.time())
        if task.item.is_quiz:
            return RedirectResponse(f"/quiz/{task.lease}", 303)
        if assignment.shows_critiques(self.store, task.item):
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
        if not assignment.shows_critiques(self.store, task.item) or task.first_vote is None:
            return RedirectResponse("/", 303)
        return self.pages.task(person, task, assignment.progress(self.store, person.id), second=True)

    def second_answer(self, person: SignedIn, sent: Sent) -> Response:
        """The vote after the critiques."""
        fields = _genuine(person, sent)
        task = self._task(person, fields)
        if not assignment.shows_critiques(self.store, task.item) or task.first_vote is None:
            return RedirectResponse("/", 303)
        try:
            answer = forms.read_answer(task.item.kind, task.shown, fields)
        except LabellingError as error:
            progress = assignment.progress(self.store, person.id)
            return self.pages.task(person, task, progress, problem=str(error), sent=fields, second=True)
        assignment.record_second(self.store, task.lease, person.id, answer)
        return RedirectResponse("/", 303)

    def draft(self, person: SignedIn, sent: Sent) -> Response:
        """What was typed so far."""
        fields = _genuine(person, sent)
        assignment.keep_draft(self.store, self._task(person, fields).lease, person.id, forms.as_draft(fields))
        return Response(status_code=204)

    async def turn(self, person: SignedIn, sent: Sent) -> Response:
        """A message to the model in a red-team dialogue, and its reply. Those who talk wait in a line of their own."""
        if person.id in self._talking:
            raise LabellingError("The model is still answering your last message. Please wait for it.")
        self._talking.add(person.id)
        try:
            await to_thread.run_sync(self._talk, person, sent, limiter=self._line)
        finally:
            self._talking.discard(person.id)
        return RedirectResponse("/", 303)

    # Reading --------------------------------------------------------------------------------------------------------

    def guidelines(self, person: SignedIn, version: Annotated[int | None, Query(lt=2**31)] = None) -> Response:
        """The guidelines, newest or of a version."""
        found, text = self.store.guidelines(version)
        if found == 0:
            raise HTTPException(404, "There is no such version of the guidelines.")
        return self.pages.guidelines(person, found, text)

    def about_me(self, person: SignedIn) -> Response:
        """A person's own progress and what they said of themselves."""
        progress = assignment.progress(self.store, person.id)
        return self.pages.about_me(person, progress, people.own_attributes(self.store, person))

    def describe_me(self, person: SignedIn, sent: Sent) -> Response:
        """What a person says of themselves."""
        fields = _genuine(person, sent)
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

    def _talk(self, person: Person, sent: bytes) -> None:
        fields = _genuine(person, sent)
        task, said = self._task(person, fields), forms.first(fields, "message").strip()
        if self.model is None:
            raise LabellingError("There is no model to talk to: the lead starts it with --model.")
        if task.item.kind != "red_team" or task.first_vote is not None:
            raise LabellingError("There is nothing to say to a model in this task.")
        if len(said) > LONGEST_MESSAGE:
            raise LabellingError(f"That message is too long: up to {LONGEST_MESSAGE:,} characters.")
        if said and forms.first(fields, "turns") == str(len(task.turns)):
            asked = Turn(role="user", content=said)
            told = (turn for turn in task.item.prompt if turn.role == "system")  # the rest is the person's task
            reply = Turn(role="assistant", content=self.model((*told, *task.turns, asked)))
            assignment.add_turns(self.store, task.lease, person.id, (asked, reply), after=len(task.turns))

    def _task(self, person: Person, fields: Fields) -> Task:
        number = forms.first(fields, "lease")
        if not number.isdecimal() or len(number) > 18:
            raise LabellingError("That form is not one of ours. Please go back to your task.")
        return self._own(person, int(number))

    def _own(self, person: Person, lease: int) -> Task:
        return assignment.task_of(self.store, lease, person.id)


async def signed_in(request: Request) -> Person:
    """Who asks. Raises 401 when nobody is signed in. One row is read sooner than a thread is found for it."""
    web: Web = request.app.state.web
    person = people.whose(web.store, request.cookies.get(web.cookie, ""))
    if person is None:
        raise HTTPException(401, SIGN_IN_AGAIN)
    return person


async def lead(person: Annotated[Person, Depends(signed_in)]) -> Person:
    """The lead. Raises 403 for anyone else."""
    if not person.is_lead:
        raise HTTPException(403, "This page is for the lead of the project.")
    return person


async def body(request: Request) -> bytes:
    """What was sent. Raises 415 for what no form of ours sends, 413 for too much of it."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != FORM:
        raise HTTPException(415, "That form is not one of ours. Please go back to your task.")
    try:
        return await request.body()
    except ClientDisconnect as error:
        raise HTTPException(413, "That is too much at once, or it did not arrive whole.") from error


SignedIn = Annotated[Person, Depends(signed_in)]
Lead = Annotated[Person, Depends(lead)]
Sent = Annotated[bytes, Depends(body)]


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
    def refused(request: Request, error: StarletteHTTPException) -> Response:
        stranger = error.status_code == 401 or request.url.path.startswith("/in/")
        words, status = str(error.detail), error.status_code
        return web.pages.message("That did not work", words, status=status, way_back=not stranger)

    @app.exception_handler(UserError)
    def wrong(_: Request, error: UserError) -> Response:
        return web.pages.message("That did not work", str(error), status=400, way_back=True)

    @app.exception_handler(RequestValidationError)
    def unreadable(_: Request, __: RequestValidationError) -> Response:
        return web.pages.message("That did not work", "There is no such page.", status=404, way_back=True)

    @app.exception_handler(sqlite3.OperationalError)
    def busy(_: Request, __: sqlite3.OperationalError) -> Response:
        words = "The database is busy or its disk is full: nothing was taken. Please try again in a minute."
        return web.pages.message("That did not work", words, status=503, way_back=True)

    @app.exception_handler(Exception)
    def broken(_: Request, __: Exception) -> Response:  # what happened is on the server's standard error
        words = "Something is wrong with this server, not with you. Please tell the lead of the project."
        return web.pages.message("That did not work", words, status=500, way_back=True)

    return Guard(app, hosts)


def _genuine(person: Person, sent: bytes) -> Fields:
    """The fields of a form that was made for this session. Raises 403 for any other."""
    fields = forms.read_fields(sent)
    if not people.is_genuine(person, forms.first(fields, "form_secret")):
        raise HTTPException(403, "That form is out of date. Please go back to your task and send it again.")
    return fields
