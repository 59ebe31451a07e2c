"""The log of paid calls: whole lines only, whoever writes and whenever they are killed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.generation.fake_endpoint import Behaviour, Handler, asked, serving, well

from trimtab.errors import DataError, UserError
from trimtab.generation.call_log import Call, CallLog, request_key
from trimtab.generation.chat_reply import Reply, Usage
from trimtab.generation.endpoint import Endpoint
from trimtab.types import Message, Prompt


def call(name: str, text: str = "yes", cost: float = 1.0) -> Call:
    top = ((" \ud800é", -0.5), ("B", -1.0))
    return Call({"ask": name}, Reply(text, "stop", top), Usage(3, 1), cost, 0.5, "2026-01-01T00:00:00+00:00")


def key(name: str) -> str:
    return request_key({"ask": name})


def test_what_was_added_is_there_for_the_next_process(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "new" / "log")
    log.add(call("a", "one", 0.25))
    log.add(call("b", "two\n\u2028three", 0.5))
    for opened in (log, CallLog(tmp_path / "new" / "log")):
        assert (opened.calls, opened.spent) == (2, 0.75)
        assert opened.reply(key("a")) == call("a", "one").reply
        assert opened.reply(key("b")).text == "two\n\u2028three"
        assert key("c") not in opened


def test_a_call_is_on_the_disk_before_anybody_relies_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = CallLog(tmp_path / "log")
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", lambda file: synced.append(os.fstat(file).st_size))
    log.add(call("a"))
    assert synced == [(tmp_path / "log").stat().st_size]


def test_a_key_is_the_sha_256_of_the_canonical_request() -> None:
    r"""The hash is that of `printf %s '{"a":1,"b":"\u00e9"}' | sha256sum`."""
    expected = "6071e7aa781e8adc235db31b17e6d0ee414a17031b1744a38fbf2cd17effcbce"
    assert request_key({"b": "é", "a": 1}) == expected


def test_only_its_owner_may_read_it_even_if_it_was_open_to_all(tmp_path: Path) -> None:
    path = tmp_path / "log"
    CallLog(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    CallLog(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_is_cut_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = CallLog(path)
    log.add(call("a"))
    whole = path.read_bytes()
    log.add(call("b"))
    both = path.read_bytes()
    for length in [*range(len(whole), len(both), 9), len(both) - 1]:
        path.write_bytes(both[:length])
        opened = CallLog(path)
        assert (opened.calls, key("a") in opened, key("b") in opened) == (1, True, False)
        assert path.read_bytes() == whole


def test_a_line_torn_by_another_process_is_cut_before_the_next_is_added(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "log")
    log.add(call("a"))
    with (tmp_path / "log").open("ab") as other:
        other.write(b'{"key": "torn')
    log.add(call("b"))
    assert [json.loads(line)["request"]["ask"] for line in (tmp_path / "log").read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize("line", [b"not json\n", b"{}\n", b"[]\n", b'{"key": "k", "cost": 1, "reply": {"text": 1}}\n'])
def test_a_line_that_is_no_call_is_named_and_left_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "log"
    CallLog(path).add(call("a"))
    broken = path.read_bytes() + line + path.read_bytes()
    path.write_bytes(broken)
    with pytest.raises(DataError, match=r"log:2: this is no call"):
        CallLog(path)
    assert path.read_bytes() == broken


def test_what_another_process_has_paid_counts_from_the_next_call_on(tmp_path: Path) -> None:
    one, other = CallLog(tmp_path / "log"), CallLog(tmp_path / "log")
    one.add(call("a", "first"))
    other.add(call("b"))
    other.add(call("a", "second"))
    one.add(call("c"))
    assert one.calls == one.spent == 4
    assert one.reply(key("a")).text == other.reply(key("a")).text == "first"


def test_a_folder_that_cannot_hold_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened"):
        CallLog(tmp_path / "file" / "log")


WRITER = """
import sys
from pathlib import Path
from tests.generation.test_call_log import call
from trimtab.generation.call_log import CallLog
path, name = Path(sys.argv[1]), sys.argv[2]
log = CallLog(path)
(path.parent / f"ready {name}").touch()
while len(list(path.parent.glob("ready *"))) < 3:  # all begin together
    pass
for i in range(60):
    log.add(call(f"{name} {i}", name * 20_000))
"""
CLIENT = """
import sys
from pathlib import Path
from tests.generation.test_call_log import prompts
from trimtab.generation.endpoint import Endpoint
Endpoint(sys.argv[2], "m", log=Path(sys.argv[1])).write(prompts(), max_new_tokens=5)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    root = Path(__file__).parent.parent.parent
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment["PYTHONPATH"] = os.pathsep.join([str(root / "src"), str(root)])
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment)


def prompts() -> list[Prompt]:
    return [Prompt((Message("user", f"q{i}"),)) for i in range(60)]


def test_processes_that_write_at_once_do_not_mix_their_lines(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path / "log", name) for name in "xyz"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    log = CallLog(tmp_path / "log")
    assert log.calls == 180
    for name in "xyz":
        assert {log.reply(key(f"{name} {i}")).text for i in range(60)} == {name * 20_000}


def test_a_client_that_is_killed_pays_for_nothing_twice(tmp_path: Path) -> None:
    def slow(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(0.02)
        well(handler, body)

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        return slow

    with serving(script) as server:
        for calls in (7, 25):
            client = start(CLIENT, tmp_path / "log", server.url)
            while len(server.bodies) < calls and client.poll() is None:
                time.sleep(0.005)
            client.kill()
            assert client.wait() == -9
        time.sleep(0.1)  # what was sent before the kill is counted now
        lines = [line for line in (tmp_path / "log").read_text().splitlines(keepends=True) if line.endswith("\n")]
        kept = {json.loads(line)["request"]["messages"][0]["content"] for line in lines}
        before = [asked(body) for body in server.bodies]
        assert 5 < len(kept) < 60
        written = Endpoint(server.url, "m", log=tmp_path / "log", api_key_env=None).write(prompts(), max_new_tokens=5)
        after = [asked(body) for body in server.bodies[len(before) :]]
    assert [one.text for (one,) in written] == [f"echo: q{i}" for i in range(60)]
    assert sorted(after) == sorted({f"q{i}" for i in range(60)} - kept)
    assert len(before) - len(kept) <= 2 * 4  # at most those under way at the two kills were lost
