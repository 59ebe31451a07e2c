"""The model that red-team dialogues are held with."""

from __future__ import annotations

import threading

from trimtab.errors import LabellingError
from trimtab.generation.engine import Engine
from trimtab.generation.text import as_completion
from trimtab.labelling.records import Turn
from trimtab.models.policy import Policy
from trimtab.seeds import mix
from trimtab.types import Message, Prompt


class LiveModel:
    """Answers whole conversations, one at a time. Every answer is drawn anew."""

    def __init__(self, policy: Policy, *, max_new_tokens: int = 256, seed: int = 0) -> None:
        self._template, self._max_new_tokens, self._seed = policy.template, max_new_tokens, seed
        self._longest: int | None = getattr(policy.trunk.config, "max_position_embeddings", None)
        self._engine = Engine.of(policy, max_batch=1)
        self._lock, self._asked = threading.Lock(), 0

    def __call__(self, turns: tuple[Turn, ...]) -> str:
        """The assistant's next message. Raises `LabellingError` when the model cannot read so much."""
        prompt = Prompt(tuple(Message(turn.role, turn.content) for turn in turns))
        ids = self._template.prompt_ids(prompt)
        if self._longest is not None and len(ids) + self._max_new_tokens > self._longest:
            raise LabellingError("The dialogue has grown too long for the model. Say how bad it got and send it.")
        with self._lock:
            self._asked += 1
            ((sample,),) = self._engine.generate(
                [ids], max_new_tokens=self._max_new_tokens, temperature=0.7, seed=mix(self._seed, self._asked)
            )
        return as_completion(self._template, prompt, sample).text
