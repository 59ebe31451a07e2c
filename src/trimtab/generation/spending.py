"""What calls cost, and a cap that is kept while several are under way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.generation.call_log import CallLog
from trimtab.generation.chat_reply import Usage

MILLION = 1_000_000
TOKENS_AROUND_MESSAGE = 32
"""What a chat template puts around a message, at most: a guess on the safe side."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of a million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0

    def cost(self, usage: Usage) -> float:
        """What a call has cost."""
        return (self.input * usage.prompt_tokens + self.output * usage.completion_tokens) / MILLION

    def most(self, body: Mapping[str, Any]) -> float:
        """What a call may cost: a token is at least a byte, and no more are written than were asked for."""
        read = sum(len(one["content"].encode(errors="replace")) + TOKENS_AROUND_MESSAGE for one in body["messages"])
        return self.cost(Usage(read, body["max_tokens"]))


class Budget:
    """Lets a call begin only if all that are under way fit under the cap beside what the log says was paid."""

    def __init__(self, log: CallLog, *, max_spend: float | None, max_calls: int | None) -> None:
        self.max_spend, self.max_calls = max_spend, max_calls
        self._log = log
        self._promised = 0.0
        self._under_way = 0
        self._guard = threading.Lock()

    def begin(self, most: float) -> bool:
        """Promise what a call may cost, if the cap allows it; whether it does."""
        with self._guard:
            if not self._fits(self._promised + most, self._under_way + 1):
                return False
            self._promised, self._under_way = self._promised + most, self._under_way + 1
            return True

    def end(self, most: float) -> None:
        """A call that had begun is over."""
        with self._guard:
            self._promised, self._under_way = self._promised - most, self._under_way - 1

    def fits(self) -> bool:
        """Whether the calls under way still fit: one of them may have been charged for and must be sent again."""
        with self._guard:
            return self._fits(self._promised, self._under_way)

    def _fits(self, promised: float, under_way: int) -> bool:
        spend = self._log.spent + promised
        slack = 1e-9 * spend  # sums of prices are rounded
        return (self.max_spend is None or spend - slack <= self.max_spend) and (
            self.max_calls is None or self._log.calls + under_way <= self.max_calls
        )
