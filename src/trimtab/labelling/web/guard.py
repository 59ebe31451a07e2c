"""What stands before every page: headers, limits, and who may come in."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LARGEST_BODY = 4_000_000
_PORT = re.compile(r":[0-9]*\Z")
_ALWAYS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

Application = Callable[..., Any]


class Guard:
    """Around the application (ASGI): adds headers, refuses large bodies and names this server does not go by.

    A page of another site whose name an attacker points at this address would otherwise count as this site.
    """

    def __init__(self, app: Application, hosts: frozenset[str]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(headers)

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                # a browser asks whether what it has is still right, so a new version never meets an old style sheet
                kept = b"no-cache" if scope["path"].startswith("/static/") else b"no-store"
                message["headers"] = [*message["headers"], *_ALWAYS, (b"cache-control", kept)]
            await send(message)

        if refusal is not None:
            status, words = refusal
            start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
            await sending(start)
            await send({"type": "http.response.body", "body": words.encode()})
            return
        await self.app(scope, _limited(receive), sending)

    def _refusal(self, headers: dict[str, str]) -> tuple[int, str] | None:
        host = _PORT.sub("", headers.get("host", "")).lower()
        if self.hosts and host.removeprefix("[").removesuffix("]") not in self.hosts:
            return 421, "This server does not go by that name. Start it with --host to let it."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return 413, f"More than {LARGEST_BODY:,} bytes at once are not taken."
        return None


def _limited(receive: Any) -> Any:
    """The request's body, cut off where it grows beyond the limit whatever its header says."""
    seen = 0

    async def receiving() -> Any:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > LARGEST_BODY else message

    return receiving


class Attempts:
    """Failed sign-ins of the last minute, by address. Past `most` an address has to wait."""

    def __init__(self, most: int = 10, seconds: float = 60.0) -> None:
        self.most, self.seconds = most, seconds
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def must_wait(self, address: str, now: float | None = None) -> bool:
        """Whether an address has failed too often."""
        return len(self._recent(address, now)) >= self.most

    def failed(self, address: str, now: float | None = None) -> None:
        """Remember a failure."""
        self._failed[address] = [*self._recent(address, now), time.monotonic() if now is None else now]
        self._failed.move_to_end(address)
        while len(self._failed) > 10_000:  # an attacker with many addresses must not fill the memory
            self._failed.popitem(last=False)

    def _recent(self, address: str, now: float | None) -> list[float]:
        since = (time.monotonic() if now is None else now) - self.seconds
        return [moment for moment in self._failed.get(address, ()) if moment > since]
