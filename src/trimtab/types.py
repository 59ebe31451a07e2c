"""Frozen text records: what people, models and files exchange before anything is a token.

Every method sees a prompt and one or more responses to it. These records say so in text; `trimtab.data.chat` turns
them into tokens and `trimtab.models.rows` lays the tokens out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for a response: the last message is not the assistant's.

    `meta` carries a file's other columns untouched (a truth to check against, an id, a source). It takes no part in
    equality, so two prompts are equal when their messages are.
    """

    messages: tuple[Message, ...]
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the response to imitate. A multi-turn conversation is one demonstration per assistant turn."""

    prompt: Prompt
    response: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to one prompt and how probable it is that the first is the better.

    `probability` is P(chosen is better than rejected): 1.0 for one plain vote, the share of votes for several, a
    model's probability for an AI label. `margin` is how much better, in units of reward (Llama 2, section 3.2.2).
    `votes` are what the annotators said one by one, where that is known: 1.0 for chosen, 0.0 for rejected, 0.5 a tie.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    probability: float = 1.0
    margin: float = 0.0
    annotators: tuple[str, ...] = ()
    instructions_version: str = ""
    votes: tuple[float, ...] = ()

    def swap(self) -> Comparison:
        """The same judgement with the two responses exchanged."""
        return replace(
            self,
            chosen=self.rejected,
            rejected=self.chosen,
            probability=1.0 - self.probability,
            margin=-self.margin,
            votes=tuple(1.0 - vote for vote in self.votes),
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Several responses to one prompt, ordered. `tiers` holds response indices, best tier first; a tier is a tie."""

    prompt: Prompt
    responses: tuple[str, ...]
    tiers: tuple[tuple[int, ...], ...]
    annotator: str = ""
    instructions_version: str = ""


@dataclass(frozen=True, slots=True)
class Grade:
    """One response with a score on the annotator's own scale."""

    prompt: Prompt
    response: str
    score: float
    annotator: str = ""
    instructions_version: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote: text, its tokens with their log-probabilities in nats, and why it stopped.

    `token_ids` ends with the end-of-turn token when `finish_reason` is "stop"; `text` never contains it. A model behind
    a server gives text alone: `token_ids` and `logprobs` are then empty, and its filter may have cut the text short.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length", "content_filter"]
