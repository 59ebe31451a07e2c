"""A conversation with one model: what was said so far, and the next answer in pieces as it is written."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

from trimtab.errors import ModelError
from trimtab.generation.engine import Engine
from trimtab.generation.sampler import Sampling
from trimtab.generation.text import text_pieces
from trimtab.models.policy import Policy
from trimtab.seeds import mix
from trimtab.types import Message, Prompt


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered. `tokens` counts the stop token; "stopped" means that the reader had enough."""

    text: str
    tokens: int
    finish_reason: Literal["stop", "length", "stopped"]


class Conversation:
    """Remembers messages and answers. Each answer is drawn from a stream of its own, fixed by the seed.

    Raises `ValueError` for a temperature or top_p that is no such thing.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        system: str = "",
        max_new_tokens: int = 256,
        temperature: float = 0.7,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.max_new_tokens = max_new_tokens
        self.last = Answer("", 0, "stop")
        self._template = policy.template
        self._engine = Engine.of(policy, max_batch=1)
        self._limit: int | None = getattr(policy.trunk.config, "max_position_embeddings", None)
        self._sampling, self._seed = Sampling(temperature, top_p), seed
        self._asked = 0  # not set back by `begin`, so that a question asked again is answered anew
        self.begin(system)

    def begin(self, system: str = "") -> None:
        """Forget what was said and begin again, with these instructions to the model if there are any."""
        self.system = system
        self.messages: tuple[Message, ...] = (Message("system", system),) if system else ()

    def answer(self, text: str) -> Generator[str, None, None]:
        """The answer to a message, piece by piece; afterwards `last` is all of it.

        A generator that is closed before its end leaves what was written as the answer; with nothing written the
        message is forgotten. Raises `ModelError` when the conversation has grown too long for the model.
        """
        prompt = Prompt((*self.messages, Message("user", text)))
        room = self._room(prompt)
        self.last = Answer("", 0, "stopped")
        return self._write(prompt, room)

    def _write(self, prompt: Prompt, room: int) -> Generator[str, None, None]:
        self._asked += 1
        tokens: list[int] = []
        pieces: list[str] = []
        try:
            for piece in text_pieces(self._template, self._drawn(prompt, room, tokens)):
                pieces.append(piece)
                yield piece
        finally:
            self._keep(prompt, "".join(pieces), tokens, room)

    def _drawn(self, prompt: Prompt, room: int, tokens: list[int]) -> Iterator[int]:
        """The answer's tokens as they are drawn, noted in `tokens` too."""
        for token in self._engine.stream(
            self._template.prompt_ids(prompt),
            max_new_tokens=room,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            seed=mix(self._seed, self._asked),
        ):
            tokens.append(token)
            yield token

    def _room(self, prompt: Prompt) -> int:
        """How many tokens the answer may have: as many as asked for, if the model can still read as far."""
        if self._limit is None:
            return self.max_new_tokens
        length = len(self._template.prompt_ids(prompt))
        if length >= self._limit:
            raise ModelError(
                f"the conversation would be {length:,} tokens long with this message, and the model reads at most "
                f"{self._limit:,} with its answer. Begin a new one (/reset in trimtab chat) or write a shorter message"
            )
        return min(self.max_new_tokens, self._limit - length)

    def _keep(self, prompt: Prompt, text: str, tokens: list[int], room: int) -> None:
        reason: Literal["stop", "length", "stopped"] = "stopped"
        if tokens and tokens[-1] in self._template.stop_ids:
            reason = "stop"
        elif len(tokens) == room:
            reason = "length"
        self.last = Answer(text, len(tokens), reason)
        if text or reason != "stopped":
            self.messages = (*prompt.messages, Message("assistant", text))
