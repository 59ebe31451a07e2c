"""What an attacker tries: forged forms, guessed links, hostile text, others' votes, large bodies, false names."""

from __future__ import annotations

import http.client
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.labelling.browser import Browser, Page, open_project
from tests.labelling.server import start
from tests.labelling.world import pair, project, question
from typer.testing import CliRunner

from trimtab.cli.main import app as trimtab
from trimtab.errors import LabellingError
from trimtab.labelling import assignment, people
from trimtab.labelling.records import Compared, Item, Label, LabelledItem, Turn
from trimtab.labelling.web import app as web_app
from trimtab.labelling.web import guard
from trimtab.labelling.web import serve as web_serve
from trimtab.labelling.web.guard import Attempts
from trimtab.labelling.web.text import as_html, visible


@pytest.fixture
def world(tmp_path: Path) -> Any:
    return open_project(tmp_path, [pair(1), pair(2)])


def test_nobody_gets_in_without_a_link(world: Any) -> None:
    _, app, _ = world
    stranger = TestClient(app, base_url="http://localhost", follow_redirects=False)
    for path in ("/", "/me", "/guidelines", "/dashboard", "/dashboard.json", "/quiz/1", "/second/1"):
        assert stranger.get(path).status_code == 401
    for path in ("/answer", "/second", "/draft", "/turn", "/me", "/out"):
        assert stranger.post(path, data={"form_secret": "", "lease": "1"}).status_code == 401


@pytest.mark.parametrize("path", ["/answer", "/second", "/draft", "/turn", "/me", "/out"])
def test_a_form_of_another_site_is_refused(world: Any, path: str) -> None:
    """It may carry the cookie, but not the secret of the form; nor does that of another session do."""
    store, app, secrets = world
    ann, bo = Browser(app, secrets["ann"]), Browser(app, secrets["bo"])
    lease = ann.page().hidden("lease")
    for forged in ("", "x", bo.page().hidden("form_secret")):
        sent = ann.client.post(path, data={"form_secret": forged, "lease": lease, "preference": "2", "text": "x"})
        assert sent.status_code == 403
    assert store.counts()["labels"] == 0


def test_the_cookie_is_out_of_reach(world: Any) -> None:
    _, app, secrets = world
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    cookie = client.get(f"/in/{secrets['ann']}").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_secrets_are_long_and_are_kept_as_hashes(world: Any, tmp_path: Path) -> None:
    _, app, secrets = world
    Browser(app, secrets["ann"])
    assert all(len(secret) >= 22 for secret in secrets.values())  # 128 bits in base 64
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not any(secret.encode() in kept for secret in secrets.values())


def test_a_link_that_was_ended_or_replaced_is_worth_nothing(world: Any) -> None:
    store, app, secrets = world
    ann, bo = Browser(app, secrets["ann"]), Browser(app, secrets["bo"])
    people.revoke(store, "ann")
    people.invite(store, ["bo"])
    for browser, name in ((ann, "ann"), (bo, "bo")):
        assert browser.client.get("/").status_code == 401
        assert browser.client.get(f"/in/{secrets[name]}").status_code == 403


def test_guessing_is_slowed(world: Any) -> None:
    _, app, secrets = world
    stranger = TestClient(app, base_url="http://localhost", follow_redirects=False)
    found = [stranger.get(f"/in/guess-{n}").status_code for n in range(12)]
    assert found == [403] * 10 + [429] * 2
    assert stranger.get(f"/in/{secrets['ann']}").status_code == 429  # a right one, too, or guessing would show it


def test_the_wait_ends_and_is_each_address_s_own() -> None:
    attempts = Attempts(most=2, seconds=60)
    for now in (0.0, 1.0):
        attempts.failed("a", now)
    assert attempts.must_wait("a", 2.0)
    assert not attempts.must_wait("b", 2.0)
    assert not attempts.must_wait("a", 60.5)


def test_every_answer_has_the_headers(world: Any) -> None:
    _, app, secrets = world
    ann = Browser(app, secrets["ann"])
    for path in ("/", "/static/style.css", "/nowhere", "/dashboard"):
        headers = ann.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert ann.client.get("/").headers["cache-control"] == "no-store"


def test_pages_need_nothing_the_policy_forbids(world: Any) -> None:
    """No script or style on the page itself, and nothing from elsewhere."""
    _, app, secrets = world
    for browser, paths in (
        (Browser(app, secrets["ann"]), ("/", "/me", "/guidelines")),
        (Browser(app, secrets["lead"]), ("/dashboard",)),
    ):
        for path in paths:
            page = browser.page(path)
            assert [s["src"] for s in page.named("script")] == ["/static/label.js"]
            assert page.named("style") == []
            assert not any(name.startswith("on") or name == "style" for _, found in page.tags for name in found)
            sources = [found.get("src") or found.get("href") or "" for _, found in page.tags]
            assert not any(source.startswith(("http", "//")) for source in sources)


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</div></section><form action=//evil><input name=preference value=2>",
    "[click](javascript:alert(1))",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
    "\x1b[31mred\x1b[0m \x07",
    "abc\u202edef\u2066x",
    "a\x00b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(tmp_path: Path, text: str) -> None:
    """On a page with it there is no tag more than on one with plain text, and a person reads it as it was written."""
    items = [
        Item(kind="compare", prompt=question(text), responses=(text, text + "2")),
        Item(kind="compare", prompt=question("plain"), responses=("one", "two")),
    ]
    _, app, secrets = open_project(tmp_path, items)
    ann = Browser(app, secrets["ann"])
    pages = [ann.page()]
    ann.send(preference="0")
    pages.append(ann.page())
    assert [tag for tag, _ in pages[0].tags] == [tag for tag, _ in pages[1].tags]
    assert any(visible(text) in page.text for page in pages)
    assert not any(character in page.text for page in pages for character in "\x1b\x07\x00\u202e\u2066")


def test_what_people_write_is_only_text_too(tmp_path: Path) -> None:
    _, app, secrets = open_project(tmp_path, [Item(kind="demonstrate", prompt=question("q"))])
    ann = Browser(app, secrets["ann"])
    ann.send("/draft", text="</textarea><script>alert(1)</script>")
    assert len(ann.page().named("script")) == 1


def test_visible() -> None:
    assert visible("a\x1b[1m\u202eb\x7f\u0085\tc\nd") == "a\u241b[1m[RLO]b\u2421\ufffd\tc\nd"
    assert visible("naïve 😀 مرحبا") == "naïve 😀 مرحبا"


def test_guidelines_hold_markdown_and_no_html() -> None:
    html = as_html(
        "# Title\n\n<script>x</script> **bold** ![i](//evil/p.png) [l](https://a.example) [j](javascript:x)\n"
    )
    page = Page(html)
    assert {"h1", "strong", "a"} <= {tag for tag, _ in page.tags}
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert [a["href"] for a in page.named("a")] == ["//evil/p.png", "https://a.example"]  # to be clicked, or not


def test_an_answer_of_a_megabyte_is_shown_whole(tmp_path: Path) -> None:
    long = "word " * 200_000
    _, app, secrets = open_project(tmp_path, [Item(kind="compare", prompt=question("q"), responses=(long, "short"))])
    ann = Browser(app, secrets["ann"])
    assert long in ann.page().text
    assert ann.send(preference="1").status_code == 200


def test_large_bodies_are_refused(world: Any) -> None:
    _, app, secrets = world
    ann = Browser(app, secrets["ann"])
    assert ann.client.post("/answer", content=b"x" * (guard.LARGEST_BODY + 1)).status_code == 413


def test_only_its_own_name_is_answered_to(world: Any) -> None:
    """Or a site whose name was pointed at this address could read what this browser may read."""
    _, app, _ = world
    assert TestClient(app, base_url="http://evil.example").get("/").status_code == 421


@pytest.mark.parametrize("lease", ["", "x", "-1", "9" * 30, "²"])
def test_numbers_that_are_none(world: Any, lease: str) -> None:
    _, app, secrets = world
    ann = Browser(app, secrets["ann"])
    page = ann.page()
    sent = ann.client.post(
        "/answer", data={"form_secret": page.hidden("form_secret"), "lease": lease, "preference": "1"}
    )
    assert sent.status_code == 400


@pytest.mark.parametrize("path", ["/quiz/{}", "/second/{}", "/guidelines?version={}"])
@pytest.mark.parametrize("number", ["-1", "0", "x", "9" * 19, "9" * 30, "9" * 5000, "\u0661\u0660"])
def test_pages_of_numbers_that_are_none(world: Any, path: str, number: str) -> None:
    _, app, secrets = world
    assert Browser(app, secrets["ann"]).client.get(path.format(number)).status_code in (400, 404)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("form_secret=%C3%A9&lease={lease}&preference=1", 403),  # no letter of a secret
        ("form_secret=%ED%A0%80", 403),  # a lone surrogate
        ("form_secret={secret}&lease={lease}&preference=" + "9" * 6000, 400),
        ("form_secret={secret}&lease={lease}&rank_0=" + "9" * 6000 + "&rank_1=" + "9" * 6000, 400),
        ("form_secret={secret}&lease={lease}&preference=x&reason=%ED%A0%80%00%FF", 400),
        ("form_secret={secret}&lease={lease}" + "&a=1" * 200, 400),
        ("&" * 5000, 400),
        ("", 403),
    ],
)
def test_forms_no_browser_sends(world: Any, body: str, status: int) -> None:
    store, app, secrets = world
    ann = Browser(app, secrets["ann"])
    page = ann.page()
    sent = body.format(secret=page.hidden("form_secret"), lease=page.hidden("lease"))
    answer = ann.client.post("/answer", content=sent, headers={"content-type": web_app.FORM})
    assert answer.status_code == status
    assert store.counts()["labels"] == 0


def test_only_plain_forms_are_read(world: Any) -> None:
    """A form of several parts says itself which character set it has, and some of Python's make text that is none."""
    _, app, secrets = world
    ann = Browser(app, secrets["ann"])
    for kind in ("multipart/form-data; boundary=b; charset=unicode_escape", "text/plain", "application/json", ""):
        assert ann.client.post("/answer", content=b"{}", headers={"content-type": kind}).status_code == 415


def test_a_body_that_says_nothing_of_its_length_is_cut_off(world: Any) -> None:
    _, app, secrets = world
    ann = Browser(app, secrets["ann"])

    def pieces() -> Iterator[bytes]:
        for _ in range(guard.LARGEST_BODY // 100_000 + 2):
            yield b"a" * 100_000

    answer = ann.client.post("/answer", content=pieces(), headers={"content-type": web_app.FORM})
    assert answer.status_code == 413


def test_nul_and_what_is_no_character_are_kept_or_marked(tmp_path: Path) -> None:
    store, app, secrets = open_project(tmp_path, [Item(kind="demonstrate", prompt=question("q"))])
    ann = Browser(app, secrets["ann"])
    page = ann.page()
    for path in ("/draft", "/answer"):
        body = f"form_secret={page.hidden('form_secret')}&lease={page.hidden('lease')}&text=a%00b%ED%A0%80c"
        ann.client.post(path, content=body, headers={"content-type": web_app.FORM})
    (label,) = [label for entry in store.labelled_items() for label in entry.labels]
    assert label.answer.text == "a\x00b" + "\ufffd" * 3 + "c"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8321", "127.0.0.1:8321", "[::1]", "[::1]:8321"])
def test_names_of_this_machine(world: Any, host: str) -> None:
    store, _, _ = world
    client = TestClient(web_app.application(store, dict, None, frozenset({"localhost", "127.0.0.1", "::1"})))
    assert client.get("/", headers={"host": host}).status_code == 401


@pytest.mark.parametrize(
    "host", ["", "localhost.evil", "evil@localhost", "localhost:80:evil", "localhost.", "::1", "127.0.0.1.nip.io", "[]"]
)
def test_names_that_only_look_like_it(world: Any, host: str) -> None:
    store, _, _ = world
    client = TestClient(web_app.application(store, dict, None, frozenset({"localhost", "127.0.0.1", "::1"})))
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "..%2f..%2fstore.py", "/etc/passwd", "%00", "a" * 5000])
def test_no_file_but_the_static_ones_is_served(world: Any, path: str) -> None:
    _, app, _ = world
    assert TestClient(app, base_url="http://localhost").get(f"/static/{path}").status_code == 404


def test_what_breaks_says_nothing_of_the_inside(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _, secrets = world

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("/home/secret/path")

    app = web_app.application(store, dict, None, frozenset({"localhost"}))
    monkeypatch.setattr(assignment, "next_task", broken)
    client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
    answer = client.get(f"/in/{secrets['ann']}")
    assert answer.status_code == 500
    assert "Please tell the lead" in answer.text
    assert not any(word in answer.text for word in ("secret/path", "RuntimeError", "Traceback", ".py"))
    assert "content-security-policy" in answer.headers


def test_a_database_that_is_busy_takes_nothing_and_says_so(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, app, secrets = world
    ann = Browser(app, secrets["ann"])
    page = ann.page()

    def locked(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(assignment, "record", locked)
        assert ann.send(page=page, preference="1").status_code == 503
    assert ann.send(page=page, preference="1").status_code == 200
    assert store.counts()["labels"] == 1


def test_old_forms_are_worth_nothing_after_signing_out(world: Any) -> None:
    """Neither with the old cookie nor, signed in again, with the old form."""
    store, app, secrets = world
    ann = Browser(app, secrets["ann"])
    old, session = ann.page(), ann.client.cookies[web_app.cookie_name(store)]
    ann.send("/out", old)
    ann.client.cookies.set(web_app.cookie_name(store), session)
    assert ann.send(page=old, preference="1").status_code == 401
    ann.client.cookies.clear()
    ann.client.get(f"/in/{secrets['ann']}")
    assert ann.send(page=old, preference="1").status_code == 403
    assert store.counts()["labels"] == 0


def test_two_projects_on_one_host_know_their_own_people(tmp_path: Path) -> None:
    assert len({web_app.cookie_name(project(tmp_path / name, [])) for name in ("a", "b")}) == 2


def test_signing_in_makes_a_new_session_whatever_the_browser_held(world: Any) -> None:
    store, app, secrets = world
    client = TestClient(app, base_url="http://localhost", cookies={web_app.cookie_name(store): "chosen-by-another"})
    made = client.get(f"/in/{secrets['ann']}", follow_redirects=False).cookies[web_app.cookie_name(store)]
    assert made != "chosen-by-another"
    stranger = TestClient(app, base_url="http://localhost", cookies={web_app.cookie_name(store): "chosen-by-another"})
    assert stranger.get("/").status_code == 401


def test_the_lease_of_another_opens_nothing(world: Any) -> None:
    store, app, secrets = world
    ann, bo = Browser(app, secrets["ann"]), Browser(app, secrets["bo"])
    lease, form_secret = ann.page().hidden("lease"), bo.page().hidden("form_secret")
    for path in ("/answer", "/second", "/draft", "/turn"):
        sent = bo.client.post(path, data={"form_secret": form_secret, "lease": lease, "preference": "1", "text": "x"})
        assert sent.status_code == 400
    assert bo.client.get(f"/quiz/{lease}").status_code == bo.client.get(f"/second/{lease}").status_code == 400
    assert store.counts()["labels"] == 0


def test_what_people_say_of_themselves_is_on_nobody_else_s_page(tmp_path: Path) -> None:
    offered = ({"name": "faith", "choices": ("one-faith", "other-faith")},)
    store, app, secrets = open_project(tmp_path, [pair(1), pair(2)], attributes=offered)
    ann, lead = Browser(app, secrets["ann"]), Browser(app, secrets["lead"])
    ann.send("/me", ann.page("/me"), attribute_0="one-faith")
    ann.send(preference="1")
    assert store.attributes() == {"ann": {"faith": "one-faith"}}
    assert "faith" not in lead.client.get("/dashboard").text + lead.client.get("/dashboard.json").text
    chosen = [option for option in Browser(app, secrets["bo"]).page("/me").named("option") if "selected" in option]
    assert chosen == []


# A model to talk to --------------------------------------------------------------------------------------------------


def talker(app: Any, secret: str) -> tuple[Browser, dict[str, str]]:
    """Someone with a dialogue open, and the fields of its form."""
    browser = Browser(app, secret)
    page = browser.page()
    return browser, {name: page.hidden(name) for name in ("form_secret", "lease")} | {"turns": "0", "message": "hello"}


def test_a_slow_model_holds_up_nobody_who_labels(tmp_path: Path) -> None:
    """More people talk than there are threads for pages. A page comes while all wait, and then all are answered."""
    go_on, asked = threading.Event(), threading.Event()

    def slow(_: tuple[Turn, ...]) -> str:
        asked.set()
        assert go_on.wait(60)
        return "no"

    store = project(tmp_path, [Item(kind="red_team")], (), overlap=50)
    names = [f"p{n}" for n in range(45)]
    secrets = people.invite(store, names)
    app = web_app.application(store, dict, slow, frozenset({"localhost"}))
    with TestClient(app, base_url="http://localhost") as client:  # one loop for all, as in a server
        sent = []
        for name in names:
            session = people.sign_in(store, secrets[name]) or ""
            person = people.whose(store, session)
            assert person is not None
            task = assignment.next_task(store, person.id, now=0.0)
            assert task is not None
            form = {"form_secret": person.form_secret, "lease": str(task.lease), "turns": "0", "message": "hello"}
            sent.append((session, form))

        def say(session: str, form: dict[str, str]) -> None:
            found.append(
                client.post(
                    "/turn", data=form, headers={"cookie": f"{web_app.cookie_name(store)}={session}"}
                ).status_code
            )

        found: list[int] = []
        client.follow_redirects = False
        threads = [threading.Thread(target=say, args=one) for one in sent]
        for thread in threads:
            thread.start()
        assert asked.wait(60)
        session = people.sign_in(store, secrets["p0"])
        assert client.get("/me", headers={"cookie": f"{web_app.cookie_name(store)}={session}"}).status_code == 200
        assert found == []
        go_on.set()
        for thread in threads:
            thread.join()
    assert found == [303] * 45


def test_one_person_cannot_fill_the_model_s_line(tmp_path: Path) -> None:
    """While the model answers them, whoever sends more is told to wait, and the model is not asked again."""
    calls: list[int] = []
    found: list[int] = []

    def model(_: tuple[Turn, ...]) -> str:
        calls.append(1)
        if len(calls) == 1:
            thread = threading.Thread(target=lambda: found.append(ann.client.post("/turn", data=fields).status_code))
            thread.start()
            thread.join(30)
        return "no"

    _, app, secrets = open_project(tmp_path, [Item(kind="red_team")], model=model)
    ann, fields = talker(app, secrets["ann"])
    assert ann.client.post("/turn", data=fields).status_code == 200
    assert found == [400]
    assert calls == [1]


def test_the_model_is_for_dialogues_alone(tmp_path: Path) -> None:
    def model(_: tuple[Turn, ...]) -> str:
        raise AssertionError("the model was asked")

    _, app, secrets = open_project(tmp_path / "a", [pair(1)], model=model)
    ann, fields = talker(app, secrets["ann"])
    assert ann.client.post("/turn", data=fields).status_code == 400
    _, app, secrets = open_project(tmp_path / "b", [Item(kind="red_team")], model=model)
    ann, fields = talker(app, secrets["ann"])
    assert ann.client.post("/turn", data=fields | {"message": "a" * 20_001}).status_code == 400
    ann.send(too_hard="1")
    assert ann.client.post("/turn", data=fields).status_code == 400  # the task is done


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\x1b[31m", "a\u202eb", "a\u200bb", "a" * 61, "\ud800"])
def test_names_that_trick_the_eye_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LabellingError, match="is no name for an annotator"):
        people.invite(project(tmp_path, [], ()), [name])


def test_names_of_imported_labels_cannot_write_on_the_terminal(tmp_path: Path) -> None:
    """A name with a line's end could give out a false link."""
    store = project(tmp_path, [], ("ann",))
    label = Label(annotator="eve\n\x1b[31mbo: http://evil/in/x", answer=Compared(preference=1))
    store.add_labels([LabelledItem(item=pair(1), labels=(label,))])
    shown = CliRunner().invoke(trimtab, ["label", str(tmp_path), "--no-serve"]).output
    assert "\x1b" not in shown
    assert not any(line.startswith("bo: ") for line in shown.splitlines())


# A real server -------------------------------------------------------------------------------------------------------


def test_who_guesses_cannot_claim_to_be_someone_else_each_time(tmp_path: Path) -> None:
    """Without a proxy nobody's word is taken for an address. And small packets go out at once."""
    project(tmp_path, [pair(1)])
    server, port = start(tmp_path)
    try:
        found = []
        for n in range(12):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                connection.request("GET", f"/in/guess-{n}", headers={"x-forwarded-for": f"10.0.0.{n}"})
                found.append(connection.getresponse().status)
        assert found == [403] * 10 + [429] * 2
    finally:
        server.kill()
        server.wait()


def test_pages_need_not_wait_for_the_other_side_s_acknowledgement() -> None:
    """asyncio turns Nagle's algorithm off on sockets that say they are TCP, and those only."""
    with closing(web_serve.listen("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP
