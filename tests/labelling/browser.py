"""A browser without a screen: follows links, fills in forms, keeps cookies; and the page as a parser sees it."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from tests.labelling.world import project

from trimtab.labelling import people
from trimtab.labelling.dashboard import summarise
from trimtab.labelling.records import Item
from trimtab.labelling.store import Store
from trimtab.labelling.web.app import application


class Page(HTMLParser):
    """What is on a page: tags with their attributes, the fields of the task's form, and the text a person reads."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def hidden(self, name: str) -> str:
        """The value of a hidden field."""
        values = [a.get("value") for tag, a in self.tags if tag == "input" and a.get("name") == name]
        assert values, f"there is no field {name}"
        return values[-1] or ""

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for found, attributes in self.tags if found == tag]


class Browser:
    """One person's browser."""

    def __init__(self, app: Any, secret: str) -> None:
        self.client = TestClient(app, base_url="http://localhost", follow_redirects=True)
        self.client.get(f"/in/{secret}")

    def page(self, path: str = "/") -> Page:
        """What is at a path."""
        return Page(self.client.get(path).text)

    def send(self, path: str = "/answer", page: Page | None = None, **fields: Any) -> Any:
        """Send the form of a page (of the task, if none is given) with these fields filled in."""
        page = page or self.page()
        hidden = {"form_secret": page.hidden("form_secret")}
        if any(a.get("name") == "lease" for a in page.named("input")):
            hidden["lease"] = page.hidden("lease")
        return self.client.post(path, data=hidden | fields)


def open_project(
    folder: Path, items: list[Item], *, model: Callable[..., str] | None = None, **settings: Any
) -> tuple[Store, Any, dict[str, str]]:
    """A project with a lead and two annotators, its application, and everyone's secret."""
    store = project(folder, items, (), **settings)
    secrets = people.invite(store, [people.LEAD], is_lead=True) | people.invite(store, ["ann", "bo"])
    return store, application(store, summarise, model, frozenset({"localhost"})), secrets
