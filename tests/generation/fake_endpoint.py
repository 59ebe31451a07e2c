"""A model server on this machine that behaves as it is told: well, or badly in one of many ways."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Behaviour = Callable[["Handler", dict[str, Any]], None]
"""What the server does with a request, given its body."""
Script = Callable[[dict[str, Any], int], Behaviour]
"""Chooses what to do with a body that has come so many times before."""


class FakeServer(ThreadingHTTPServer):
    """Counts what is asked. `script` decides on a behaviour from the number of times the same body has come before."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.seen: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.guard = threading.Lock()
        self.under_way = self.most_under_way = 0
        self.sent = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""

    @property
    def url(self) -> str:
        scheme = "https" if isinstance(self.socket, ssl.SSLSocket) else "http"
        return f"{scheme}://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            key = json.dumps(body, sort_keys=True)
            earlier = self.server.seen[key]
            self.server.seen[key] += 1
            self.server.bodies.append(body)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.server.times.append(time.monotonic())
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
        try:
            self.server.script(body, earlier)(self, body)
        finally:
            with self.server.guard:
                self.server.under_way -= 1

    do_GET = do_POST

    def give(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing in the environment stand between a client and the server on this machine."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(script: Script, certificate: Path | None = None) -> Iterator[FakeServer]:
    server = FakeServer(script)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


def self_signed(folder: Path) -> Path:
    """A certificate that nobody vouches for, with its key."""
    pem, key = folder / "certificate.pem", folder / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=elsewhere.test"
    subprocess.run([*make.split(), "-keyout", key, "-out", pem], check=True, capture_output=True)
    pem.write_text(pem.read_text() + key.read_text())
    return pem


def asked(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]


def body_of(text: str | None, **choice: Any) -> dict[str, Any]:
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10},
    }


def tokens(*positions: dict[str, float]) -> dict[str, Any]:
    """`logprobs` of a choice; the first token of a position is the one written."""
    entries = [[{"token": token, "logprob": value} for token, value in position.items()] for position in positions]
    return {"content": [{**top[0], "top_logprobs": top} for top in entries]}


# Behaviours ---------------------------------------------------------------------------------------------------------


def well(handler: Handler, body: dict[str, Any]) -> None:
    """Echo the question; to one for options, say A with 3/4 and B with 1/4."""
    if body.get("logprobs"):
        answer = body_of("A", logprobs=tokens({"A": -0.2876820724517809, "B": -1.3862943611198906}))
    else:
        answer = body_of(f"echo: {asked(body)}")
    handler.give(json.dumps(answer).encode())


def status(code: int, content: bytes = b'{"error": {"message": "no"}}', **headers: str) -> Behaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, body: handler.give(content, code, named)


def raw(content: bytes) -> Behaviour:
    return lambda handler, body: handler.give(content)


def says(answer: Any) -> Behaviour:
    return raw(json.dumps(answer).encode())


def silent(handler: Handler, body: dict[str, Any]) -> None:
    time.sleep(3.0)


def dripping_body(handler: Handler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(60):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def dripping_head(handler: Handler, body: dict[str, Any]) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(60):
        handler.wfile.write(b"x")
        time.sleep(0.05)


def reset(handler: Handler, body: dict[str, Any]) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def endless(handler: Handler, body: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" " * 2**20)
        handler.server.sent += 2**20


def cut_short(handler: Handler, body: dict[str, Any]) -> None:
    """A body that ends before the length it was announced with."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
