"""What a chat server answers, read closely: what is not as it should be is an error, and nothing is made up."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, get_args

FinishReason = Literal["stop", "length", "content_filter"]
AROUND = " \t\r\n()"
"""What may stand around an option in an answer: (A), A and " A" are the same."""
HARD_ANSWER = 0.95
"""Probability of the option that was written where no probabilities are told. Without some doubt its log-odds would be
infinite; one label in twenty is a mild guess at how often a single answer differs from the next."""
LARGEST = sys.float_info.max
MOST_TOKENS = 10**9
"""No call uses more: a server that says so has not counted."""


class MalformedReply(Exception):
    """A reply that cannot be used. The message says why."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written, as the server counted them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `top_logprobs` are the likeliest tokens (nats) where its first word stands; None if not told.

    They are empty where the answer has no word of the model's own.
    """

    text: str
    finish_reason: FinishReason
    top_logprobs: tuple[tuple[str, float], ...] | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Reply:
        """The reply that `dataclasses.asdict` and JSON have made a record of."""
        top = record["top_logprobs"]
        tokens = None if top is None else tuple((token, logprob) for token, logprob in top)
        return cls(record["text"], record["finish_reason"], tokens)


def read_json(content: str) -> Any:
    """JSON as the standard has it, without NaN and infinities. Raises `MalformedReply`."""
    try:
        return json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        begins = f"; it begins {content[:60]!r}" if content.strip() else ": it is empty"
        reason = str(error) if isinstance(error, _NoNumber) else f"the body is not JSON{begins}"
    raise MalformedReply(reason)


class _NoNumber(ValueError):
    pass


def _no_number(name: str) -> NoReturn:
    raise _NoNumber(f"the body has {name} where a number should be")


def read_usage(data: Any) -> Usage | None:
    """The tokens that a body says were used; None if it does not say so in whole numbers that can be."""
    usage = data.get("usage") if isinstance(data, dict) else None
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts):
        return None
    return Usage(*counts)  # type: ignore[arg-type]  # they are whole numbers


def read_reply(data: Any) -> Reply:
    """The first choice of a body of /chat/completions. Raises `MalformedReply`.

    No content is an answer without a word where a filter took it, or where the tokens were used up before it began.
    """
    choices = data.get("choices") if isinstance(data, dict) else None
    if not isinstance(choices, list) or not choices:
        raise MalformedReply("the body has no choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise MalformedReply("the choice has no message")
    refusal = message.get("refusal")
    text = message.get("content")
    if text is None and isinstance(refusal, str):
        text = refusal
    reason = choice.get("finish_reason")
    if text is None and reason in ("content_filter", "length"):
        return Reply("", reason, ())
    if not isinstance(text, str):
        raise MalformedReply("the message has no content")
    if reason not in get_args(FinishReason):
        raise MalformedReply(f"finish_reason is {reason!r}")
    if isinstance(refusal, str) and refusal:
        return Reply(text, reason, ())
    top = _first_word(choice.get("logprobs"))
    if top is None and (reason == "content_filter" or not text.strip().strip(AROUND)):
        top = ()  # there was nothing to tell: it says nothing about the server
    return Reply(text, reason, top)


def is_filtered(data: Any) -> bool:
    """Whether the body of an error says that a filter keeps the request from the model (OpenAI, Azure OpenAI)."""
    error = data.get("error") if isinstance(data, dict) else None
    return isinstance(error, dict) and error.get("code") in ("content_filter", "content_policy_violation")


def _first_word(logprobs: Any) -> tuple[tuple[str, float], ...] | None:
    """The likeliest tokens in place of the first that is more than spaces and parentheses; none if there is none."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    for position in content:
        token, logprob = _token(position)
        if token.strip(AROUND):
            top = position.get("top_logprobs")
            if not isinstance(top, list) or not top:
                return None
            return tuple(dict([*map(_token, top), (token, logprob)]).items())  # not all servers list the one written
    return ()


def _token(entry: Any) -> tuple[str, float]:
    token, logprob = (entry.get("token"), entry.get("logprob")) if isinstance(entry, dict) else (None, None)
    # NaN, infinities and whole numbers too large for a float are not between these
    if not (isinstance(token, str) and isinstance(logprob, int | float) and -LARGEST <= logprob <= LARGEST):
        raise MalformedReply("a token has no text or no log-probability")
    if logprob > 1e-3:  # rounding may pass zero by a little
        raise MalformedReply(f"a token has the log-probability {logprob}, which is above 0")
    return token, min(float(logprob), 0.0)


def check_options(options: Sequence[str]) -> tuple[str, ...]:
    """Options without spaces and parentheses around them. Raises ValueError if some are then the same or empty."""
    bare = tuple(option.strip(AROUND) for option in options)
    if len(set(bare)) < len(bare) or not all(bare) or len(bare) < 2:
        raise ValueError(f"options must differ in more than spaces and parentheses: {list(options)}")
    return bare


def option_logprobs(top: Sequence[tuple[str, float]], options: Sequence[str]) -> tuple[float, ...] | None:
    """log p of each bare option among the likeliest tokens; ways to write one are added. None if one is not there."""
    found: dict[str, list[float]] = {option: [] for option in options}
    for token, logprob in top:
        if token.strip(AROUND) in found:
            found[token.strip(AROUND)].append(logprob)
    if not all(found.values()):
        return None
    return tuple(min(_log_sum(found[option]), 0.0) for option in options)


def _log_sum(logprobs: Sequence[float]) -> float:
    largest = max(logprobs)
    return largest + math.log(math.fsum(math.exp(one - largest) for one in logprobs))


def hard_logprobs(text: str, options: Sequence[str]) -> tuple[float, ...] | None:
    """log p of each bare option from an answer that is one of them: `HARD_ANSWER` for it, the rest shared equally."""
    if text.strip(AROUND) not in options:
        return None
    others = (1.0 - HARD_ANSWER) / (len(options) - 1)
    return tuple(math.log(HARD_ANSWER if option == text.strip(AROUND) else others) for option in options)
