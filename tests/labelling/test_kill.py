"""The server is killed while people answer: what it acknowledged is there, once, and they go on where they were."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.labelling.server import start
from tests.labelling.world import pair, project, taken_is_true

from trimtab.labelling import people
from trimtab.labelling.store import Store


class Annotator:
    """Someone who answers until the server is gone, and who sends a form that was not acknowledged once more."""

    def __init__(self, name: str, secret: str, seed: int) -> None:
        self.name, self.secret = name, secret
        self.cookie = ""
        self.unsent: dict[str, str] | None = None
        self.asked = 0
        self.acknowledged: dict[int, int] = {}
        self.wrong = ""
        self._random = random.Random(seed)

    def work(self, port: int) -> None:
        """Answer and answer."""
        server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            while not self.wrong:
                self._one(server)
        except (OSError, http.client.HTTPException):
            server.close()  # the server was killed

    def _one(self, server: http.client.HTTPConnection) -> None:
        if not self.cookie:
            server.request("GET", f"/in/{self.secret}")
            answer = server.getresponse()
            answer.read()
            self.cookie = (answer.getheader("set-cookie") or "").split(";")[0]
        if self.unsent is None:
            self._open(server)
        server.request("POST", "/answer", urlencode(self.unsent or {}), self._headers())
        answer = server.getresponse()
        answer.read()
        if answer.status != 303:
            self.wrong = f"{answer.status} to an answer"
            return
        assert self.unsent is not None
        self.acknowledged[self.asked] = int(self.unsent["preference"])
        self.unsent = None

    def _open(self, server: http.client.HTTPConnection) -> None:
        server.request("GET", "/", headers=self._headers())
        page = server.getresponse().read().decode()
        hidden = dict(re.findall(r'name="(form_secret|lease)" value="([^"]*)"', page))
        asked = re.search(r"question (\d+)", page)
        if asked is None or "lease" not in hidden:
            self.wrong = page
            raise http.client.HTTPException("no task")
        self.asked = int(asked[1])
        self.unsent = hidden | {"preference": self._random.choice(["-2", "-1", "1", "2"])}

    def _headers(self) -> dict[str, str]:
        return {"cookie": self.cookie, "content-type": "application/x-www-form-urlencoded"}


def work_until_killed(folder: Path, annotators: list[Annotator], seconds: float) -> None:
    """Start the server, let everyone work, kill it `seconds` after the first answer of this time."""
    server, port = start(folder)
    before = sum(len(one.acknowledged) for one in annotators)
    threads = [threading.Thread(target=one.work, args=(port,)) for one in annotators]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while sum(len(one.acknowledged) for one in annotators) == before and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(seconds)
    server.kill()
    server.wait()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_or_doubled_by_kills(tmp_path: Path, kills: int) -> None:
    names = ("ann", "bo", "cy", "di", "ed", "flo")
    store = project(tmp_path, [pair(n) for n in range(4000)], (), overlap=2)
    secrets = people.invite(store, names)
    annotators = [Annotator(name, secrets[name], seed) for seed, name in enumerate(names)]
    moments = random.Random(5)
    for _ in range(kills):
        work_until_killed(tmp_path, annotators, moments.uniform(0.0, 0.25))
        assert [one.wrong for one in annotators] == [""] * len(names)
    store = Store.open(tmp_path)
    stored = {
        (label.annotator, int(entry.item.prompt[0].content.split()[1])): (
            label.answer.preference * (1 if label.order[0] == 0 else -1)
        )
        for entry in store.labelled_items()
        for label in entry.labels
    }
    told = {(one.name, asked): said for one in annotators for asked, said in one.acknowledged.items()}
    assert store.counts()["labels"] == len(stored)
    assert told.items() <= stored.items()
    open_forms = {(one.name, one.asked): int(one.unsent["preference"]) for one in annotators if one.unsent is not None}
    assert stored.items() - told.items() <= open_forms.items()  # stored, and killed before it was said
    assert len(told) >= kills
    assert [row[0] for row in store.read("PRAGMA integrity_check")] == ["ok"]
    assert store.read("PRAGMA foreign_key_check") == []
    assert taken_is_true(store)
    people_now = [people.whose(store, one.cookie.partition("=")[2]) for one in annotators]
    assert [person and person.name for person in people_now] == list(names)
