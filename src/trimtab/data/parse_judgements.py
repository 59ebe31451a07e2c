"""Rows that compare, rank, grade or vote on responses to one prompt.

Each function takes a row and the columns it does not read (`meta`), and raises `RowError` with a reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.data.messages import (
    RowError,
    messages_of,
    prompt_from,
    prompt_of,
    response_of,
    text_of,
    with_system,
)
from trimtab.data.parse_responses import alpaca_prompt
from trimtab.types import Comparison, Grade, Message, Prompt, Ranking

Values = Mapping[str, Any]
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


def votes(row: Values, meta: Values) -> list[Comparison]:
    """Votes of several annotators on two responses; `chosen` is the one with the larger share."""
    prompt, responses = _prompt_and_responses(row, meta, at_least=2)
    if len(responses) != 2:
        raise RowError(f"votes are between two responses, this row has {len(responses)}; use ranking for more")
    cast = row["votes"]
    if not isinstance(cast, list) or not cast:
        raise RowError('votes must be a list such as [{"annotator": "ann-1", "choice": 0}]')
    shares = tuple(_share(vote, number) for number, vote in enumerate(cast, start=1))
    annotators = tuple(str(vote["annotator"]) for vote in cast if vote.get("annotator"))
    twice = next((name for name in annotators if annotators.count(name) > 1), None)
    if twice is not None:
        raise RowError(f"the annotator {twice!r} voted more than once")
    version = str(row.get("instructions_version") or "")
    probability = sum(shares) / len(shares)
    comparison = Comparison(
        prompt, *responses, probability, annotators=annotators, instructions_version=version, votes=shares
    )
    return [comparison if comparison.probability >= 0.5 else comparison.swap()]


def _share(vote: Any, number: int) -> float:
    """How much of one vote went to the first response."""
    choice = vote.get("choice") if isinstance(vote, Mapping) else None
    share = {"0": 1.0, "1": 0.0, "tie": 0.5}.get(str(choice))
    if share is None:
        raise RowError(f'the choice of vote {number} must be 0, 1 or "tie", not {choice!r}')
    return share


def preference(row: Values, meta: Values) -> list[Comparison]:
    """TRL preference: with a column prompt, or with the prompt as the shared beginning."""
    chosen, rejected = row["chosen"], row["rejected"]
    begins = [_begins_itself(value) for value in (chosen, rejected)]
    if row.get("prompt") is not None and not any(begins):
        prompt = prompt_of(row["prompt"], meta)
        return [_comparison(row, prompt, response_of(chosen, "chosen"), response_of(rejected, "rejected"))]
    if all(begins):  # each holds the whole conversation, with or without a column prompt beside it
        first, second = messages_of(chosen, "chosen"), messages_of(rejected, "rejected")
        return [_last_turn(row, first, second, meta)]
    if any(begins):
        raise RowError("one of chosen and rejected holds the whole conversation, the other only the response")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return [_shared_text(row, text_of(chosen, "chosen"), text_of(rejected, "rejected"), meta)]
    raise RowError("there is no column prompt, and chosen and rejected do not begin with the user's message")


def _begins_itself(value: Any) -> bool:
    """Whether a list of messages starts before the assistant's turn."""
    if not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        return False
    return value[0].get("role", value[0].get("from")) not in ("assistant", "gpt")


def _last_turn(row: Values, first: tuple[Message, ...], second: tuple[Message, ...], meta: Values) -> Comparison:
    """The comparison of two conversations that differ in the assistant's last message only."""
    if first == second:
        raise RowError("chosen and rejected are the same")
    shared = _shared_length(first, second)
    if (len(first) - shared, len(second) - shared) != (1, 1):
        raise RowError(
            f"chosen and rejected must differ in the last message alone; after {shared} equal messages chosen has "
            f"{len(first) - shared} more and rejected {len(second) - shared}"
        )
    if first[-1].role != "assistant" or second[-1].role != "assistant":
        raise RowError("the last message of chosen and of rejected must be the assistant's")
    return _comparison(row, prompt_from(first[:-1], meta, "prompt"), first[-1].content, second[-1].content)


def _shared_length(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items two sequences begin with in common."""
    shortest = min(len(first), len(second))
    return next((n for n in range(shortest) if first[n] != second[n]), shortest)


def _shared_text(row: Values, chosen: str, rejected: str, meta: Values) -> Comparison:
    """TRL's implicit prompt: the words with which both texts begin."""
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    length = _shared_length(chosen, rejected)
    end = max((n for n in range(length) if chosen[n].isspace()), default=0)
    if not chosen[:end].strip():
        raise RowError("chosen and rejected share no beginning, so there is no prompt; add a column prompt")
    answers = (text_of(text[end:].strip(), name) for text, name in ((chosen, "chosen"), (rejected, "rejected")))
    return _comparison(row, prompt_of(chosen[:end].strip(), meta), *answers)


def _comparison(row: Values, prompt: Prompt, chosen: str, rejected: str) -> Comparison:
    if chosen == rejected:
        raise RowError("chosen and rejected are the same")
    probability = _number_or(row.get("probability"), 1.0, "probability")
    if not 0.0 <= probability <= 1.0:
        raise RowError(f"probability must be from 0 to 1, not {probability}")
    margin = _number_or(row.get("margin"), 0.0, "margin")
    names = row.get("annotators") or row.get("annotator") or ()
    annotators = (names,) if isinstance(names, str) else tuple(map(str, names))
    version = str(row.get("instructions_version") or "")
    return Comparison(prompt, chosen, rejected, probability, margin, annotators, version)


def hh(row: Values, meta: Values) -> list[Comparison]:
    """HH-RLHF: two transcripts that differ in the last Assistant turn."""
    chosen, rejected = (_transcript(row[name], name) for name in ("chosen", "rejected"))
    return [_last_turn(row, chosen, rejected, meta)]


def _transcript(text: str, name: str) -> tuple[Message, ...]:
    parts = _SPEAKER.split(text)
    if parts[0].strip():
        raise RowError(f"{name} has text before the first speaker")
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [{"role": roles[who], "content": said.strip()} for who, said in zip(parts[1::2], parts[2::2], strict=True)]
    return messages_of(turns, name)


def is_transcript(row: Values) -> bool:
    """Whether chosen and rejected are transcripts of Human and Assistant."""
    return all(isinstance(row[name], str) and row[name].startswith("\n\nHuman:") for name in ("chosen", "rejected"))


def sharegpt_preference(row: Values, meta: Values) -> list[Comparison]:
    """A ShareGPT conversation that waits for a response, and two responses."""
    messages = with_system(messages_of(row["conversations"], "conversations"), row.get("system"))
    prompt = prompt_from(messages, meta, "conversations")
    return [_comparison(row, prompt, response_of(row["chosen"], "chosen"), response_of(row["rejected"], "rejected"))]


def alpaca_preference(row: Values, meta: Values) -> list[Comparison]:
    """An Alpaca instruction and two responses."""
    prompt = alpaca_prompt(row, meta)
    return [_comparison(row, prompt, text_of(row["chosen"], "chosen"), text_of(row["rejected"], "rejected"))]


def openai_preference(row: Values, meta: Values) -> list[Comparison]:
    """OpenAI preference fine-tuning: input.messages, preferred_output, non_preferred_output."""
    prompt = prompt_of(row["input"].get("messages"), meta, "input.messages")
    chosen = response_of(row["preferred_output"], "preferred_output")
    return [_comparison(row, prompt, chosen, response_of(row["non_preferred_output"], "non_preferred_output"))]


def grades(row: Values, meta: Values) -> list[Grade]:
    """Responses with a score each, on the annotator's own scale."""
    prompt, responses = _prompt_and_responses(row, meta, at_least=1)
    scores = row["scores"]
    if not isinstance(scores, list) or len(scores) != len(responses):
        raise RowError(f"scores must be a list of {len(responses)} numbers, one for each response")
    who = str(row.get("annotator") or "")
    version = str(row.get("instructions_version") or "")
    numbers = [_number(score, f"score {n}") for n, score in enumerate(scores)]
    return [Grade(prompt, text, score, who, version) for text, score in zip(responses, numbers, strict=True)]


def rankings(row: Values, meta: Values) -> list[Ranking]:
    """Responses and their order: indices, best first; a nested list is a tie."""
    prompt, responses = _prompt_and_responses(row, meta, at_least=2)
    ranking = row["ranking"]
    if not isinstance(ranking, list):
        raise RowError("ranking must be a list of response indices, best first, such as [1, [0, 2]]")
    tiers = tuple(tuple(tier) if isinstance(tier, list) else (tier,) for tier in ranking)
    places = [index for tier in tiers for index in tier]
    if not all(type(index) is int for index in places) or sorted(places) != list(range(len(responses))):
        raise RowError(f"ranking must name each of the indices 0 to {len(responses) - 1} once, this is {ranking!r}")
    who = str(row.get("annotator") or "")
    return [Ranking(prompt, responses, tiers, who, str(row.get("instructions_version") or ""))]


def _prompt_and_responses(row: Values, meta: Values, at_least: int) -> tuple[Prompt, tuple[str, ...]]:
    raw = row["responses"]
    if not isinstance(raw, list) or len(raw) < at_least:
        raise RowError(f"responses must be a list of at least {at_least} texts")
    responses = tuple(response_of(value, f"response {n}") for n, value in enumerate(raw))
    if len(set(responses)) != len(responses):
        first = next(n for n, text in enumerate(responses) if text in responses[:n])
        raise RowError(f"responses {responses.index(responses[first])} and {first} are the same text")
    return prompt_of(row["prompt"], meta), responses


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise RowError(f"{name} must be a number, not {value!r}") from error
    if not math.isfinite(number):
        raise RowError(f"{name} is not a finite number")
    return number


def _number_or(value: Any, default: float, name: str) -> float:
    return default if value is None or value == "" else _number(value, name)
