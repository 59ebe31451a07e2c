"""What an attacker tries: forged forms, guessed links, hostile text, other people's votes, large bodies, other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.labelling.browser import Browser, Page, open_project
from tests.labelling.world import pair, question

from trimtab.labelling import people
from trimtab.labelling.records import Item
from trimtab.labelling.web import guard
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
    store, app, secrets = world
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
