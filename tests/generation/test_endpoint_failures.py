"""Whatever a server does: all answers arrive, or an error names the failure, nothing is lost, and no key is shown."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.generation import fake_endpoint as fake
from tests.generation.fake_endpoint import (
    Behaviour,
    body_of,
    needs_openssl,
    raw,
    says,
    self_signed,
    serving,
    status,
    tokens,
    well,
)

from trimtab.errors import EndpointError
from trimtab.generation.chat_server import Failure
from trimtab.generation.endpoint import Endpoint
from trimtab.types import Message, Prompt

SHORT = 0.5
KEY = "sk-distinctive-0123456789-abcdef"
PROMPTS = [Prompt((Message("user", f"q{i}"),)) for i in range(6)]
NAN = json.dumps(body_of("A", logprobs=tokens({"A": float("nan"), "B": -1.0}))).encode()
UNCLEAR = {"choices": [{"message": {"role": "assistant"}, "finish_reason": "stop"}]}
ECHO = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
ESCAPED = "".join(f"\\u{ord(letter):04x}" for letter in KEY)

Show = Callable[[Exception | None], str]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.generation.chat_server.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("os.fsync", lambda file: None)  # test_call_log.py is about the disk
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("MY_KEY", KEY)


@pytest.fixture
def shown(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Show:
    """All that anybody could read: the log, other libraries' logs, the terminal, the error with all variables."""
    caplog.set_level(logging.DEBUG)

    def everything(error: Exception | None) -> str:
        parts = [path.read_text() for path in tmp_path.glob("*log*")]
        parts += [caplog.text, *capfd.readouterr()]
        if error is not None:
            parts += ["".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())]
            parts += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
        return "\n".join(parts)

    return everything


def open_model(url: str, log: Path, **settings: Any) -> Endpoint:
    return Endpoint(url, "m", log=log, api_key_env="MY_KEY", **{"retries": 2, "concurrency": 3, **settings})


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "time-out": (fake.silent, r"within 0\.5 s"),
    "slow drip of a body": (fake.dripping_body, r"within 0\.5 s"),
    "slow drip of a head": (fake.dripping_head, r"within 0\.5 s"),
    "429": (status(429), "status 429"),
    "429 with Retry-After": (status(429, Retry_After="0"), "status 429"),
    "500": (status(500, b"<html>oops</html>"), "status 500.*oops"),
    "503": (status(503, b""), "status 503"),
    "truncated JSON": (raw(b'{"choices": [{"mess'), "not JSON; it begins"),
    "HTML": (raw(b"<html>welcome</html>"), "not JSON; it begins '<html>"),
    "empty body": (raw(b""), "empty"),
    "not an object": (raw(b"[]"), "no choices"),
    "deep": (raw(b"[" * 200_000), "not JSON"),
    "no choices": (says({"choices": []}), "no choices"),
    "choice of null": (says({"choices": [None]}), "no message"),
    "no content": (says(UNCLEAR), "no content"),
    "content of null that ended by itself": (says(body_of(None)), "no content"),
    "content of parts": (says(body_of([{"type": "text"}])), "no content"),  # type: ignore[arg-type]
    "unknown reason to stop": (says(body_of("x", finish_reason=None)), "finish_reason is None"),
    "reset": (fake.reset, "connection broke"),
    "cut short": (fake.cut_short, "connection broke"),
    "huge body": (fake.endless, "longer than 8,388,608"),
    "not UTF-8": (raw(b'{"choices": "\xff"}'), "not UTF-8"),
    "NaN": (raw(NAN), "NaN"),
    "positive log-probability": (says(body_of("A", logprobs=tokens({"A": 2.0}))), "above 0"),
    "log-probability of null": (says(body_of("A", logprobs=tokens({"A": None}))), "log-probability"),  # type: ignore[dict-item]
    "log-probability of 400 digits": (says(body_of("A", logprobs=tokens({"A": -(10**400)}))), "log-probability"),
    "key in a reason to stop": (
        raw(json.dumps(body_of("x", finish_reason="SLOT")).replace("SLOT", ESCAPED).encode()),
        r"finish_reason is '\[key\]'",
    ),
    "key in an error": (status(500, ECHO), r"Incorrect API key provided: \[key\]"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_passes_is_tried_again_and_what_persists_is_told(name: str, tmp_path: Path, shown: Show) -> None:
    """q1 fails once, and all six arrive. Then q3 fails for good: an error, the others are kept; a last run mends it."""
    behaviour, told = FAILURES[name]
    timeout = SHORT if "within" in told else 10.0
    with serving(lambda body, earlier: behaviour if fake.asked(body) == "q1" and not earlier else well) as server:
        written = open_model(server.url, tmp_path / "log", timeout=timeout).write(PROMPTS, max_new_tokens=5)
        assert [one.text for (one,) in written] == [f"echo: q{i}" for i in range(6)]
        assert len(server.bodies) == 7
        assert {header["authorization"] for header in server.headers} == {f"Bearer {KEY}"}

        server.script = lambda body, earlier: behaviour if fake.asked(body) == "q3" else well
        with pytest.raises(EndpointError, match=f"(?s){told}.*kept.*run again") as error:
            open_model(server.url, tmp_path / "log2", timeout=timeout, retries=1).write(PROMPTS, max_new_tokens=5)
        assert KEY not in shown(error.value)

        server.script = lambda body, earlier: well
        before = len(server.bodies)
        written = open_model(server.url, tmp_path / "log2").write(PROMPTS, max_new_tokens=5)
        assert [one.text for (one,) in written] == [f"echo: q{i}" for i in range(6)]
        assert len(server.bodies) - before < 6
    replies = [json.loads(line)["reply"] for line in (tmp_path / "log2").read_text().splitlines()]
    assert sorted(one["text"] for one in replies if one) == [f"echo: q{i}" for i in range(6)]
    assert KEY not in shown(None)


@pytest.mark.parametrize(
    ("code", "told"),
    [(400, "status 400"), (401, "refuses the key in MY_KEY"), (403, "refuses the key"), (404, "check base_url")],
)
def test_what_will_not_pass_is_not_tried_again(tmp_path: Path, shown: Show, code: int, told: str) -> None:
    with serving(lambda body, earlier: status(code, ECHO)) as server:
        with pytest.raises(EndpointError, match=told) as error:
            open_model(server.url, tmp_path / "log").write(PROMPTS[:1], max_new_tokens=5)
        assert len(server.bodies) == 1
    assert KEY not in shown(error.value)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_so_nobody_else_gets_the_key(tmp_path: Path, shown: Show, code: int) -> None:
    with serving(lambda body, earlier: well) as thief:
        place = thief.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        with serving(lambda body, earlier: status(code, b"", Location=place)) as server:
            with pytest.raises(EndpointError, match="sends on to http://localhost") as error:
                open_model(server.url, tmp_path / "log").write(PROMPTS[:1], max_new_tokens=5)
            assert len(server.bodies) == 1
    assert thief.headers == []
    assert KEY not in shown(error.value)


def test_a_reply_that_repeats_the_key_is_kept_without_it(tmp_path: Path, shown: Show) -> None:
    with serving(lambda body, earlier: says(body_of(f"your key is {KEY}"))) as server:
        written = open_model(server.url, tmp_path / "log").write(PROMPTS[:1], max_new_tokens=5)
    assert written[0][0].text == "your key is [key]"
    assert KEY not in shown(None)


def test_a_key_written_with_escapes_is_found_too(tmp_path: Path, shown: Show) -> None:
    with serving(lambda body, earlier: raw(json.dumps(body_of("SLOT")).replace("SLOT", ESCAPED).encode())) as server:
        written = open_model(server.url, tmp_path / "log").write(PROMPTS[:1], max_new_tokens=5)
    assert written[0][0].text == "[key]"
    assert KEY not in shown(None)


def test_no_server_is_told(tmp_path: Path, shown: Show) -> None:
    with serving(lambda body, earlier: well) as server:
        url = server.url
    with pytest.raises(EndpointError, match="Is the server running") as error:
        open_model(url, tmp_path / "log").write(PROMPTS, max_new_tokens=5)
    assert KEY not in shown(error.value)


HOSTED = "https://model.invalid/v1"
UNUSABLE: dict[str, tuple[str, dict[str, str], str]] = {
    "SOCKS without its package": (HOSTED, {"ALL_PROXY": "socks5://127.0.0.1:9"}, "socks.*ALL_PROXY"),
    "a proxy of no known kind": (HOSTED, {"all_proxy": "socks://127.0.0.1:9"}, "scheme.*all_proxy"),
    "a proxy's port": (HOSTED, {"HTTPS_PROXY": "http://me:hunter2@127.0.0.1:99999"}, "HTTPS_PROXY"),
    "a proxy's password": (HOSTED, {"HTTPS_PROXY": "http://me:hunter2/@127.0.0.1"}, "HTTPS_PROXY"),
    "a port": ("http://127.0.0.1:99999/v1", {}, r"port must be 0-65535.*Check base_url\."),
    "a host": ("http://xn--/v1", {}, r"Check base_url\."),
    "a bracket": ("http://[::1/v1", {}, r"Invalid port.*Check base_url\."),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_address_or_a_proxy_that_cannot_be_used_is_told_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Show
) -> None:
    url, variables, told = UNUSABLE[name]
    monkeypatch.setitem(sys.modules, "socksio", None)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    model = open_model(url, tmp_path / "log")
    outcome = model._server.post({})
    assert isinstance(outcome, Failure)
    assert not outcome.is_passing
    with pytest.raises(EndpointError, match=told) as error:
        model.write(PROMPTS, max_new_tokens=5)
    assert error.value.__cause__ is None is error.value.__context__
    assert KEY not in shown(error.value)
    assert "hunter2" not in f"{outcome.reason} {error.value}"


def test_a_proxy_that_does_not_do_its_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda body, earlier: well) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        model = open_model("https://model.invalid/v1", tmp_path / "log", retries=0)
        with pytest.raises(EndpointError, match=r"proxy error .*HTTPS_PROXY"):
            model.write(PROMPTS[:1], max_new_tokens=5)
    with pytest.raises(EndpointError, match=r"no connection .*HTTPS_PROXY"):
        model.write(PROMPTS[:1], max_new_tokens=5)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "certificates.pem").write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificates.pem"))
    with pytest.raises(EndpointError, match=r"cannot be read \(.+\).*SSL_CERT_FILE.*SSL_CERT_DIR"):
        open_model("https://model.invalid/v1", tmp_path / "log")


@needs_openssl
def test_a_certificate_that_nobody_vouches_for_is_told_at_once(tmp_path: Path, shown: Show) -> None:
    with serving(lambda body, earlier: well, certificate=self_signed(tmp_path)) as server:
        with pytest.raises(EndpointError, match=r"certificate is not trusted.*SSL_CERT_FILE") as error:
            open_model(server.url, tmp_path / "log", retries=100).write(PROMPTS, max_new_tokens=5)
        assert server.bodies == []
    assert KEY not in shown(error.value)


def test_https_where_the_server_speaks_http_is_told(tmp_path: Path, shown: Show) -> None:
    with serving(lambda body, earlier: well) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(EndpointError, match="Does the server speak https") as error:
            open_model(url, tmp_path / "log").write(PROMPTS, max_new_tokens=5)
    assert KEY not in shown(error.value)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_over_http_no_proxy_sees_the_key_or_the_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with serving(lambda body, earlier: well) as server, serving(lambda body, earlier: well) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        open_model(server.url, tmp_path / "log").write(PROMPTS, max_new_tokens=5)
        assert (len(server.bodies), len(proxy.bodies)) == (len(PROMPTS), 0)


def test_over_https_a_proxy_is_asked_for_a_tunnel_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    def listen(proxy: socket.socket) -> None:
        connection, _ = proxy.accept()
        with connection:
            heard.append(connection.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(10.0)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        thread = threading.Thread(target=listen, args=(proxy,))
        thread.start()
        with pytest.raises(EndpointError):
            open_model("https://model.invalid/v1", tmp_path / "log", retries=0).write(PROMPTS[:1], max_new_tokens=5)
        thread.join()
    assert heard[0].startswith(b"CONNECT model.invalid:443 ")
    assert KEY.encode() not in heard[0]


def test_little_of_a_huge_body_is_read(tmp_path: Path) -> None:
    with serving(lambda body, earlier: fake.endless) as server:
        with pytest.raises(EndpointError, match="longer than"):
            open_model(server.url, tmp_path / "log", retries=0).write(PROMPTS[:1], max_new_tokens=5)
        assert server.sent < 100 * 2**20


@pytest.mark.parametrize(
    ("asked_for", "limit", "least", "most"),
    [
        pytest.param("1", 120.0, 1.0, 10.0, id="seconds"),
        pytest.param("3600", 0.3, 0.3, 10.0, id="too long"),
        pytest.param("Fri, 31 Dec 2100 23:59:59 GMT", 0.3, 0.3, 10.0, id="a date"),
        pytest.param("Fri, 31 Dec 1999 23:59:59 GMT", 120.0, 0.0, 10.0, id="a date that is over"),
        pytest.param("soon", 120.0, 0.0, 10.0, id="nonsense"),
        pytest.param("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", 120.0, 0.0, 10.0, id="a year of 20 digits"),
    ],
)
def test_a_server_is_given_the_time_it_asks_for_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: str, limit: float, least: float, most: float
) -> None:
    monkeypatch.setattr("trimtab.generation.chat_server.LONGEST_RETRY_AFTER", limit)
    with serving(lambda body, earlier: well if earlier else status(429, Retry_After=asked_for)) as server:
        open_model(server.url, tmp_path / "log").write(PROMPTS[:1], max_new_tokens=5)
    first, second = server.times
    assert least <= second - first < most


def test_pauses_grow_and_are_drawn_from_all_that_is_below(monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.generation.chat_server import Failure, pause

    monkeypatch.setattr("trimtab.generation.chat_server.FIRST_PAUSE", 1.0)
    failure = Failure("any", is_passing=True)
    for attempt, limit in enumerate([1, 2, 4, 8, 16, 32, 60, 60]):
        drawn = [pause(attempt, failure) for _ in range(400)]
        assert 0 <= min(drawn) < 0.1 * limit < 0.9 * limit < max(drawn) <= limit


@pytest.mark.parametrize("value", ["sk-with\nnewline-0123456789", "sk-clé-0123456789"])
def test_a_key_that_cannot_be_sent_is_told_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(EndpointError, match="MY_KEY") as error:
        open_model("http://127.0.0.1:9/v1", tmp_path / "log")
    assert "0123456789" not in str(error.value)


def test_the_key_is_in_no_view_of_the_model(tmp_path: Path) -> None:
    import pickle

    model = open_model("http://127.0.0.1:9/v1", tmp_path / "log")
    assert KEY not in repr(vars(model)) + repr(vars(model._server))
    with pytest.raises(TypeError):
        pickle.dumps(model._server._key)


def test_short_placeholders_are_not_hidden_from_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "ollama")
    with serving(lambda body, earlier: says(body_of("I am ollama"))) as server:
        written = open_model(server.url, tmp_path / "log").write(PROMPTS[:1], max_new_tokens=5)
    assert written[0][0].text == "I am ollama"
    assert server.headers[0]["authorization"] == "Bearer ollama"


def test_a_mix_of_failures_loses_and_invents_nothing(tmp_path: Path) -> None:
    """Sixty calls, each of which fails in its own way before it works: every answer is there once, in order."""
    ways = [behaviour for name, (behaviour, _) in FAILURES.items() if "time" not in name and "drip" not in name]
    prompts = [Prompt((Message("user", str(i)),)) for i in range(60)]

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        return ways[int(fake.asked(body)) % len(ways)] if earlier == 0 else well

    begun = time.monotonic()
    with serving(script) as server:
        written = open_model(server.url, tmp_path / "log", concurrency=8).write(prompts, max_new_tokens=5)
    assert [one.text for (one,) in written] == [f"echo: {i}" for i in range(60)]
    assert set(server.seen.values()) == {2}
    assert time.monotonic() - begun < 20
