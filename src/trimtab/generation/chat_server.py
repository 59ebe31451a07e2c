"""One request to a server that speaks OpenAI's chat API: what comes back is a reply or a named failure, in time."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from trimtab.errors import EndpointError
from trimtab.generation.chat_reply import MalformedReply, Reply, Usage, is_filtered, read_json, read_reply, read_usage

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 10.0
LARGEST_BODY = 8 * 1024 * 1024
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONGEST_RETRY_AFTER = 120.0
"""A server may ask for an hour; the retries are then over soon, and the user is told."""
PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may be gone a little later."""
SHORTEST_SECRET = 12
"""Shorter keys are placeholders such as `none`: to hide them would change the texts that hold such words."""
PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
"""What httpx reads from the environment, in small letters or capitals."""


class ApiKey:
    """A key that shows itself to the server alone: not in messages, logs or a debugger's view of variables."""

    def __init__(self, variable: str | None) -> None:
        self.variable = variable
        value = os.environ.get(variable, "").strip() if variable else ""
        if not (value.isascii() and value.isprintable()):
            raise EndpointError(f"the key in the environment variable {variable} has characters that no key can have")
        self.__value = value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return f"ApiKey({self.variable})"

    def __getstate__(self) -> object:
        raise TypeError("a key is not to be written anywhere")

    def headers(self) -> dict[str, str]:
        """What goes with a request."""
        return {"Authorization": f"Bearer {self.__value}"} if self.__value else {}

    def hide(self, text: str) -> str:
        """A text without the key, if a server should repeat it."""
        return text.replace(self.__value, "[key]") if len(self.__value) >= SHORTEST_SECRET else text


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and what the server says it used."""

    reply: Reply
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no reply. `is_passing`: it may be another time. `is_charged`: the server did its work, in vain."""

    reason: str
    is_passing: bool
    retry_after: float | None = None
    is_charged: bool = False
    usage: Usage | None = None


class ChatServer:
    """Sends single requests. Failures are values, so that no traceback can hold a request with its key."""

    def __init__(self, base_url: str, key: ApiKey, *, timeout: float) -> None:
        try:
            import httpx
        except ImportError as error:
            raise EndpointError(
                f"a model behind a server needs {error.name}, which is missing: pip install 'trimtab[endpoint]'"
            ) from error
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._key = key
        # a proxy named in the environment reads all that goes over http, and of https only the server's name
        self._may_use_proxy = base_url.startswith("https://")
        self._timeout = timeout
        try:
            self._tls = httpx.create_ssl_context()  # reading the certificates takes longer than a request
        except OSError as error:  # ssl.SSLError is one
            raise EndpointError(
                f"the certificates to trust cannot be read ({error.strerror or error}). Check the environment's "
                "SSL_CERT_FILE, a file of certificates in PEM, and SSL_CERT_DIR, a folder of them, or unset them"
            ) from error

    def post(self, body: Mapping[str, Any]) -> Answer | Failure:
        """Send a request and wait for the whole answer, no longer than the timeout in all. For any thread."""
        import httpx

        try:
            response, content = asyncio.run(self._exchange(json.dumps(body).encode()))
        except (TimeoutError, httpx.TimeoutException):
            return Failure(f"no whole answer within {self._timeout:g} s", is_passing=True)
        except httpx.HTTPError as error:
            return self._no_exchange(error)
        except Exception as error:  # an address or a proxy that httpx cannot make sense of; it raises what it likes
            return self._no_request(error)
        if len(content) > LARGEST_BODY:
            return Failure(f"the answer is longer than {LARGEST_BODY:,} bytes", is_passing=True, is_charged=True)
        if not response.is_success:
            return self._status(response, content)
        return self._answer(content)

    async def _exchange(self, body: bytes) -> tuple[httpx.Response, bytes]:
        """The response and its body, of which no more is read than just too much."""
        import httpx

        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self._key.headers()}
        waits = httpx.Timeout(self._timeout, connect=min(self._timeout, CONNECT_SECONDS))
        async with (  # httpx limits each wait; a byte a second would pass them all, so all is limited too
            asyncio.timeout(self._timeout),
            httpx.AsyncClient(
                verify=self._tls, timeout=waits, follow_redirects=False, trust_env=self._may_use_proxy
            ) as client,
            client.stream("POST", self._url, content=body, headers=headers) as response,
        ):
            content = bytearray()
            async for piece in response.aiter_bytes(64 * 1024):
                content += piece
                if len(content) > LARGEST_BODY:
                    break
            return response, bytes(content)

    def _no_request(self, error: Exception) -> Failure:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        reason = type(error).__name__
        if str(error) and not any("@" in os.environ[name] for name in self._proxies()):  # it may quote a password
            reason += f": {self._shown(str(error))}"
        return Failure(f"the request cannot be sent ({reason}). {self._where_to_look()}", is_passing=False)

    def _proxies(self) -> list[str]:
        """The variables that may name a proxy for this server, or keep one from it."""
        set_ones = sorted(name for name in os.environ if name.lower() in PROXY_VARIABLES and os.environ[name])
        return set_ones if self._may_use_proxy else []

    def _where_to_look(self) -> str:
        proxies = f" and the environment's {', '.join(self._proxies())}" if self._proxies() else ""
        return f"Check base_url{proxies}"

    def _no_exchange(self, error: Exception) -> Failure:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(
                f"the server's certificate is not trusted ({cause.verify_message}). Check base_url; if the certificate "
                "is your own, name its file in the environment variable SSL_CERT_FILE",
                is_passing=False,
            )
        if cause is not None:
            reason = f"no encrypted connection ({self._shown(str(cause))}). Does the server speak https at this port?"
            return Failure(reason, is_passing=True)
        if type(error).__name__ == "ConnectError":
            reason = f"no connection ({self._shown(str(error))}). Is the server running? {self._where_to_look()}"
            return Failure(reason, is_passing=True)
        kind = " ".join(re.findall("[A-Z][a-z]+", type(error).__name__)).lower()
        detail = f" ({self._shown(str(error))})" if str(error) else ""
        remedy = f". {self._where_to_look()}" if type(error).__name__ == "ProxyError" else ""
        return Failure(f"the connection broke: {kind}{detail}{remedy}", is_passing=True)

    def _status(self, response: httpx.Response, content: bytes) -> Answer | Failure:
        status = response.status_code
        if status == 400 and is_filtered(_json_or_none(content)):
            return Answer(Reply("", "content_filter", ()), None)  # it would be refused every time: this is the answer
        if response.is_redirect:
            place = self._shown(response.headers.get("location", ""))
            reason = f"status {status}: the server sends on to {place}, which is not followed"
            return Failure(f"{reason}. If you trust that place, name it as base_url", is_passing=False)
        reason = f"status {status}{_remedy(status, self._key)}"
        said = _said(content)
        if shown := self._shown(said):
            reason += f". The server says: {shown}"
        if status < 500 and "logprobs" in said.lower():
            reason += ". Set top_logprobs lower, or to 0 with hard_answers: true"
        is_passing = status in PASSING or status >= 500
        return Failure(reason, is_passing, _seconds(response.headers.get("retry-after", "")) if is_passing else None)

    def _answer(self, content: bytes) -> Answer | Failure:
        usage = None
        try:
            data = read_json(self._key.hide(content.decode()))
            usage = read_usage(data)
            reply = read_reply(data)
        except UnicodeDecodeError:
            reason = "the body is not UTF-8"
        except MalformedReply as error:
            reason = str(error)
        else:
            return Answer(Reply(self._key.hide(reply.text), reply.finish_reason, reply.top_logprobs), usage)
        reason = f"an answer that cannot be used: {self._shown(reason)}"
        return Failure(reason, is_passing=True, is_charged=True, usage=usage)

    def _shown(self, text: str) -> str:
        """What others wrote, in one short line without the key."""
        line = " ".join("".join(c if c.isprintable() else " " for c in self._key.hide(text)).split())
        return line if len(line) <= 200 else line[:200] + "..."


def pause(attempt: int, failure: Failure) -> float:
    """Seconds to wait after the attempt of this number, from 0.

    Exponential back-off with full jitter (Brooker, Exponential Backoff And Jitter, AWS 2015); what the server asks for
    is the least, up to a limit.
    """
    backoff = random.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt))
    return backoff + min(failure.retry_after or 0.0, LONGEST_RETRY_AFTER)


def _seconds(retry_after: str) -> float | None:
    """The header Retry-After, which is in seconds or a date (RFC 9110, section 10.2.3)."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", retry_after.strip()):
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # no date, or one of a year that no calendar has
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


def _json_or_none(content: bytes) -> Any:
    try:
        return read_json(content.decode(errors="replace"))
    except MalformedReply:
        return None


def _said(content: bytes) -> str:
    """The message in a body that tells of an error; all of the body where there is none."""
    data = _json_or_none(content)
    error = data.get("error") if isinstance(data, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return content.decode(errors="replace") if message is None else str(message)


def _remedy(status: int, key: ApiKey) -> str:
    if status in (401, 403):
        if key:
            return f": the server refuses the key in {key.variable}"
        return f": no key was sent. Put it into {key.variable or 'a variable and name that as api_key_env'}"
    if status == 404:
        return ": check base_url, which mostly ends with /v1, and the model's name"
    return ""
