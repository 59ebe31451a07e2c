"""A model behind an OpenAI-compatible server, with the two methods of `LocalModel`."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from trimtab.errors import EndpointError, SpendingCapError
from trimtab.generation.call_log import Call, CallLog, request_key
from trimtab.generation.chat_reply import Reply, check_options, hard_logprobs, option_logprobs
from trimtab.generation.chat_server import Answer, ApiKey, ChatServer, Failure, pause
from trimtab.generation.spending import Budget, Prices
from trimtab.seeds import mix
from trimtab.types import Completion, Message, Prompt

ANSWER_TOKENS = 8
"""Room for an option with spaces and parentheses around it."""


@dataclass(frozen=True)
class Request:
    """What is asked of the server, and `sample`: which of several answers to the same words this is to be."""

    base_url: str
    body: dict[str, Any]
    sample: dict[str, int]

    @cached_property
    def record(self) -> dict[str, Any]:
        """The request as the log keeps it."""
        return {"base_url": self.base_url, **self.body, "sample": self.sample}

    @cached_property
    def key(self) -> str:
        """What the log finds it by."""
        return request_key(self.record)


class Endpoint:
    """Writes completions, and tells how probable given options are. `name` is what logs and reports call it.

    Every answer is kept in `log` and read from there when it is wanted again, by this process or a later one. The key
    is taken from the environment variable `api_key_env`, which may be unset. `timeout` is in seconds and for a request
    as a whole. Prices are for a million tokens; `max_spend` and `max_calls` cap what the log holds. `top_logprobs` is
    how many of the likeliest tokens the server is asked to tell of. `malformed` counts the answers that
    `option_logprobs` could not use.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        log: Path,
        api_key_env: str | None = "OPENAI_API_KEY",
        timeout: float = 120.0,
        retries: int = 5,
        concurrency: int = 4,
        price_input: float | None = None,
        price_output: float | None = None,
        max_spend: float | None = None,
        max_calls: int | None = None,
        top_logprobs: int = 20,
        hard_answers: bool = False,
    ) -> None:
        self.name = model
        self.malformed = 0
        self._base_url = base_url.rstrip("/")
        self._retries, self._concurrency = retries, concurrency
        self._top_logprobs, self._hard_answers = top_logprobs, hard_answers
        self._server = ChatServer(self._base_url, ApiKey(api_key_env), timeout=timeout)
        self._log = CallLog(log)
        self._prices = Prices(price_input or 0.0, price_output or 0.0)
        self._budget = Budget(self._log, max_spend=max_spend, max_calls=max_calls)

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        group_size: int = 1,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Completion]]:
        """`group_size` completions of each prompt, in the prompts' order. Temperature 0 is greedy.

        They have no tokens and log-probabilities. Many servers draw as they like, so `seed` repeats what is said
        through the log alone. Raises `EndpointError` and `SpendingCapError`; what was paid is kept.
        """
        settings = {"max_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p}
        members: Counter[Prompt] = Counter()
        requests = []
        for prompt in prompts:
            for _ in range(group_size):
                member = members[prompt]  # a prompt that comes twice is answered twice, as by a local model
                members[prompt] += 1
                drawn = {**settings, "seed": mix(seed, member) & 0x7FFFFFFF}
                requests.append(self._request(prompt.messages, drawn, {"seed": seed, "member": member}))
        replies = iter(self._replies(requests, lambda reply: None, on_progress))
        return [
            [Completion(prompt, one.text, (), (), one.finish_reason) for one in islice(replies, group_size)]
            for prompt in prompts
        ]

    def option_logprobs(
        self,
        questions: Sequence[Prompt],
        options: Sequence[str],
        *,
        lead: str = "",
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[tuple[float, ...] | None]:
        """log p of each option (nats) as the answer to each question; None where not all of them were offered.

        They are of the first token of the answer that is more than spaces and parentheses, so an option is to be one
        token: a letter or a number. They do not add up to one. Most servers cannot be made to begin with `lead`; in its
        place the question ends by asking for one of the options and nothing else. Raises as `write` does, and
        `EndpointError` when there are no log-probabilities and hard answers were not allowed.
        """
        bare = check_options(options)
        self._check_settings(bare)
        wish = f"\n\nAnswer with one of these and nothing else: {', '.join(bare)}."
        settings: dict[str, Any] = {"max_tokens": ANSWER_TOKENS, "temperature": 0.0}
        if self._top_logprobs:
            settings |= {"logprobs": True, "top_logprobs": self._top_logprobs}
        requests = []
        for question in questions:
            *before, last = question.messages
            requests.append(self._request((*before, Message(last.role, last.content + wish)), settings, {}))
        found: list[tuple[float, ...] | None] = []
        for reply in self._replies(requests, self._check_logprobs, on_progress):
            top = reply.top_logprobs
            found.append(hard_logprobs(reply.text, bare) if top is None else option_logprobs(top, bare))
        self.malformed += found.count(None)
        return found

    def _check_settings(self, options: Sequence[str]) -> None:
        """What is asked for can be a label. It is told before anything is paid."""
        if not self._top_logprobs and not self._hard_answers:
            raise EndpointError(
                f"top_logprobs is 0, so {self.name} is asked for no log-probabilities, which labels are made of. Set "
                "hard_answers to true to take the letter it writes, or top_logprobs higher"
            )
        if 0 < self._top_logprobs < len(options):
            raise EndpointError(
                f"top_logprobs is {self._top_logprobs}, too few for {len(options)} options: set it higher, or to 0 "
                "with hard_answers: true"
            )

    def _check_logprobs(self, reply: Reply) -> None:
        if reply.top_logprobs is None and not self._hard_answers:
            raise EndpointError(
                f"{self.name} at {self._base_url} tells no log-probabilities (top_logprobs), which labels are made of. "
                "Take a server that does, or set hard_answers to true to take the letter it writes; what was paid is "
                "kept and used"
            )

    def _request(self, messages: Sequence[Message], settings: dict[str, Any], sample: dict[str, int]) -> Request:
        written = [{"role": message.role, "content": message.content} for message in messages]
        return Request(self._base_url, {"model": self.name, "messages": written, **settings}, sample)

    def _replies(
        self,
        requests: Sequence[Request],
        check: Callable[[Reply], None],
        on_progress: Callable[[int, int], None] | None,
    ) -> list[Reply]:
        """The replies in order, those that the log has not yet from the server. `check` may raise to stop early."""
        self._log.catch_up()
        wanted = Counter(request.key for request in requests)
        waiting = deque({request.key: request for request in requests if request.key not in self._log}.values())
        done = len(requests) - sum(wanted[request.key] for request in waiting)

        def arrived(request: Request) -> None:
            nonlocal done
            check(self._log.reply(request.key))
            done += wanted[request.key]
            if on_progress is not None:
                on_progress(done, len(requests))

        failure = self._fetch(waiting, arrived)
        if failure is not None:
            raise EndpointError(self._told(f"{self.name} at {self._base_url}: {failure.reason}", requests))
        if waiting:
            raise SpendingCapError(self._told(self._cap_told(waiting[0]), requests))
        replies = [self._log.reply(request.key) for request in requests]
        for reply in replies:
            check(reply)
        return replies

    def _fetch(self, waiting: deque[Request], arrived: Callable[[Request], None]) -> Failure | None:
        """Empty the queue as far as the cap allows, several at once; the first failure ends it, after those under way.

        However it ends, by an exception or Ctrl-C too, the answers that were under way are waited for and kept.
        """
        failure: Failure | None = None
        running: dict[Future[Failure | None], Request] = {}
        halt = threading.Event()
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                while True:
                    while waiting and failure is None and len(running) < self._concurrency:
                        if waiting[0].key in self._log:  # another process has bought it meanwhile
                            arrived(waiting.popleft())
                            continue
                        if not self._budget.begin(self._prices.most(waiting[0].body)):
                            break
                        request = waiting.popleft()
                        running[pool.submit(self._call, request, halt)] = request
                    if not running:
                        return failure
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        request, failed = running.pop(future), future.result()
                        if failed is None:
                            arrived(request)
                        else:
                            failure = failure or failed
                            halt.set()
            finally:
                halt.set()  # who waits to try again is woken and does not

    def _call(self, request: Request, halt: threading.Event) -> Failure | None:
        """Ask until there is an answer in the log; else why there is none."""
        most = self._prices.most(request.body)
        try:
            attempt = 0
            while True:
                begun = time.monotonic()
                outcome = self._server.post(request.body)
                self._keep(request, outcome, time.monotonic() - begun, most)
                if isinstance(outcome, Answer):
                    return None
                is_last = attempt == self._retries or not outcome.is_passing or not self._budget.fits()
                if is_last or halt.wait(pause(attempt, outcome)):
                    return outcome
                attempt += 1
                self._log.catch_up()
                if request.key in self._log:  # another process has bought it meanwhile
                    return None
        finally:
            self._budget.end(most)

    def _keep(self, request: Request, outcome: Answer | Failure, seconds: float, most: float) -> None:
        """Write what was charged for into the log. Where the server does not say what it used, the most counts."""
        if isinstance(outcome, Failure) and not outcome.is_charged:
            return
        reply, fault = (outcome.reply, "") if isinstance(outcome, Answer) else (None, outcome.reason)
        cost = most if outcome.usage is None else self._prices.cost(outcome.usage)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._log.add(Call(request.record, reply, outcome.usage, cost, round(seconds, 3), at, fault))

    def _cap_told(self, request: Request) -> str:
        if self._budget.max_calls is not None and self._log.calls >= self._budget.max_calls:
            return f"{self._log.calls} calls were made and max_calls is {self._budget.max_calls}: raise it to go on"
        return (
            f"{self._log.spent:.6g} is spent, the next call may cost {self._prices.most(request.body):.6g}, and "
            f"max_spend is {self._budget.max_spend:g}: raise it to go on"
        )

    def _told(self, reason: str, requests: Sequence[Request]) -> str:
        """A reason to stop, with where things stand."""
        keys = {request.key for request in requests}
        missing = sum(key not in self._log for key in keys)
        return (
            f"{reason}. {len(keys) - missing} of {len(keys)} calls are kept in {self._log.path} "
            f"({self._log.calls} calls and {self._log.spent:.6g} spent in all); run again to make the other {missing}"
        )
