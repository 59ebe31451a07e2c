"""Many annotators at once against one labelling server: how long a page takes, and whether every label is there.

python -m bench.labelling [--annotators 50] [--labels 20000] [--think 0]

Every annotator is a connection that opens the task, answers it, and opens the next one. Afterwards the database is
compared with what was acknowledged.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode, urlsplit

ITEMS_A_LABEL = 0.5  # two votes an item


class Annotator(threading.Thread):
    """One person: opens, reads, answers, again and again."""

    def __init__(self, link: str, labels: int, think: float) -> None:
        super().__init__()
        self.url, self.labels, self.think = urlsplit(link), labels, think
        self.pages: list[float] = []
        self.answers: list[float] = []
        self.acknowledged = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Label until there is nothing left or enough is done."""
        try:
            self._label()
        except BaseException as error:
            self.error = error

    def _label(self) -> None:
        connection = http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=60)
        connection.request("GET", self.url.path)
        answer = connection.getresponse()
        answer.read()
        headers = {"cookie": (answer.getheader("set-cookie") or "").split(";")[0]}
        for _ in range(self.labels):
            began = time.perf_counter()
            connection.request("GET", "/", headers=headers)
            page = connection.getresponse().read().decode()
            self.pages.append(time.perf_counter() - began)
            fields = dict(re.findall(r'name="(form_secret|lease)" value="([^"]*)"', page))
            if "lease" not in fields:
                return
            time.sleep(self.think)
            body = urlencode(fields | {"preference": "1"})
            began = time.perf_counter()
            form = headers | {"content-type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/answer", body, form)
            answer = connection.getresponse()
            answer.read()
            self.answers.append(time.perf_counter() - began)
            assert answer.status == 303, f"an answer was met with {answer.status}"
            self.acknowledged += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.labelling", description=__doc__)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--labels", type=int, default=20_000, help="in all")
    parser.add_argument("--think", type=float, default=0.0, help="seconds between opening a task and answering it")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), options.annotators, options.labels, options.think), indent=1))


def measure(folder: Path, annotators: int, labels: int, think: float) -> dict[str, object]:
    """The times of all pages and answers, and what became of the labels."""
    from trimtab.labelling.records import Item, Turn
    from trimtab.labelling.settings import Settings
    from trimtab.labelling.store import Store

    store = Store.create(folder / "project", Settings(overlap=2, extra_vote=False))
    question = "Is this receipt enough? " + "It names the ship and the day. " * 10
    responses = ("Yes. " * 40, "No. " * 40)
    store.add_items(
        Item(kind="compare", prompt=(Turn(role="user", content=f"{n}: {question}"),), responses=responses)
        for n in range(int(labels * ITEMS_A_LABEL) + annotators)
    )
    names = ",".join(f"person{n}" for n in range(annotators))
    command = [sys.executable, "-m", "trimtab", "label", str(store.folder), "--annotators", names, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        links = []
        while len(links) < annotators:
            line = server.stdout.readline()
            assert line, "the server ended before it began"
            links += re.findall(r"^person\d+: (http\S+)", line)
        people = [Annotator(link, labels // annotators, think) for link in links]
        began = time.perf_counter()
        for one in people:
            one.start()
        for one in people:
            one.join()
        seconds = time.perf_counter() - began
    finally:
        server.kill()
        server.wait()
    if errors := [one.error for one in people if one.error is not None]:
        raise errors[0]
    stored = [(entry.item.key, label.annotator) for entry in store.labelled_items() for label in entry.labels]
    acknowledged = sum(one.acknowledged for one in people)
    return {
        "annotators": annotators,
        "think_seconds": think,
        "acknowledged": acknowledged,
        "stored": len(stored),
        "doubled": sum(count - 1 for count in Counter(stored).values()),
        "items_with_too_many": sum(count > 2 for count in Counter(key for key, _ in stored).values()),
        "labels_a_second": round(acknowledged / seconds, 1),
        "page_ms": quantiles([second for one in people for second in one.pages]),
        "answer_ms": quantiles([second for one in people for second in one.answers]),
    }


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95 % and 99 % point and the longest, in milliseconds."""
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    return {name: round(1000 * ordered[min(int(q * len(ordered)), len(ordered) - 1)], 1) for name, q in at.items()}


if __name__ == "__main__":
    main()
