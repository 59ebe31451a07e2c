"""What is labelled and what people say of it: the records of the store, of the pages and of `labels.jsonl`."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from trimtab.types import Message, Prompt

Kind = Literal["compare", "rank", "grade", "demonstrate", "edit", "red_team"]
Flag = Literal["fails_instruction", "invented", "harmful", "denigrates", "over_refuses"]

MOST_RESPONSES = 9
NUM_RESPONSES: dict[Kind, range] = {
    "compare": range(2, 3),
    "rank": range(2, MOST_RESPONSES + 1),
    "grade": range(1, 2),
    "demonstrate": range(0, 1),
    "edit": range(1, 2),
    "red_team": range(0, 1),
}
"""How many responses an item of each kind has."""


class Record(BaseModel):
    """Checked closely, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Turn(Record):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class Compared(Record):
    """Which of two responses is better: 2 is the first by far, 1 the first, 0 neither, -1 and -2 the second."""

    kind: Literal["compare"] = "compare"
    preference: int = Field(ge=-2, le=2)
    both_bad: bool = False
    reason: str = ""


class Ranked(Record):
    """Responses by number, best tier first; a tier of several is a tie. Every response is in one tier."""

    kind: Literal["rank"] = "rank"
    tiers: tuple[tuple[int, ...], ...]
    reason: str = ""


class Graded(Record):
    """A response on a scale from 1 to 7, with what is wrong with it."""

    kind: Literal["grade"] = "grade"
    score: int = Field(ge=1, le=7)
    flags: tuple[Flag, ...] = ()
    reason: str = ""


class Written(Record):
    """A demonstration, or an edited response."""

    kind: Literal["demonstrate", "edit"]
    text: str = Field(min_length=1)
    reason: str = ""


class RedTeamed(Record):
    """A conversation that tried to make a model do harm, and how bad it got: 0 not at all, 4 as bad as can be."""

    kind: Literal["red_team"] = "red_team"
    severity: int = Field(ge=0, le=4)
    turns: tuple[Turn, ...] = Field(min_length=2)
    reason: str = ""


class TooHard(Record):
    """The annotator cannot judge this."""

    kind: Literal["too_hard"] = "too_hard"
    reason: str = ""


Answer = Annotated[Compared | Ranked | Graded | Written | RedTeamed | TooHard, Field(discriminator="kind")]
ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


class Item(Record):
    """One thing to label. `gold` is the known answer, where there is one; `sources` say who wrote the responses.

    `critiques`, one a response, may be shown after a first vote. An item of the warm-up quiz is gold, and `explanation`
    says why. Annotators never see `sources`, nor `gold` outside of the quiz.
    """

    id: str = ""
    kind: Kind
    prompt: tuple[Turn, ...] = ()
    responses: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    critiques: tuple[str, ...] = ()
    gold: Answer | None = None
    is_quiz: bool = False
    explanation: str = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Item:
        allowed = NUM_RESPONSES[self.kind]
        if len(self.responses) not in allowed:
            wanted = str(allowed.start) if len(allowed) == 1 else f"{allowed.start} to {allowed.stop - 1}"
            raise ValueError(f"an item of kind {self.kind} has {wanted} responses, not {len(self.responses)}")
        if self.kind != "red_team" and not self.prompt:
            raise ValueError("prompt is empty")
        for name in ("sources", "critiques"):
            if getattr(self, name) and len(getattr(self, name)) != len(self.responses):
                raise ValueError(f"{name} are one a response, or none")
        if self.gold is not None and (problem := misfit(self.gold, self)):
            raise ValueError(f"gold: {problem}")
        if self.gold is not None and self.kind not in ("compare", "rank", "grade"):
            raise ValueError(f"gold: an item of kind {self.kind} has no answer that alone is right")
        if self.is_quiz and self.gold is None:
            raise ValueError("an item of the quiz needs its gold answer")
        return self

    @property
    def key(self) -> str:
        """The item's id; where none was given, one that its content alone decides."""
        if self.id:
            return self.id
        shown = [self.kind, [turn.model_dump() for turn in self.prompt], self.responses]
        return hashlib.sha256(json.dumps(shown, ensure_ascii=False).encode()).hexdigest()[:16]

    def as_prompt(self) -> Prompt:
        """The prompt as the rest of trimtab knows it."""
        return Prompt(tuple(Message(turn.role, turn.content) for turn in self.prompt))


class Label(Record):
    """What one annotator said of one item.

    `order[i]` is the number of the response shown at place i. `answer` is in the item's order, whatever was shown;
    `after_aid` is the second vote, of those who saw the critiques after their first. `guidelines` is the version in
    force when the item was opened; `seconds` is how long it was open; `at` is when the first vote came, in UTC.
    """

    annotator: str
    answer: Answer
    after_aid: Answer | None = None
    order: tuple[int, ...] = ()
    guidelines: int = 0
    seconds: float = Field(0.0, ge=0)
    at: str = ""

    @property
    def final(self) -> Answer:
        """The last vote."""
        return self.answer if self.after_aid is None else self.after_aid


class LabelledItem(Record):
    """An item with its labels: a line of `labels.jsonl`."""

    item: Item
    labels: tuple[Label, ...] = ()


def misfit(answer: Answer, item: Item) -> str:
    """Why an answer cannot be one to this item; empty if it can."""
    if isinstance(answer, TooHard):
        return ""
    if answer.kind != item.kind:
        return f"an answer of kind {answer.kind} to an item of kind {item.kind}"
    if isinstance(answer, Ranked):
        ranked = sorted(number for tier in answer.tiers for number in tier)
        if ranked != list(range(len(item.responses))) or not all(answer.tiers):
            return f"tiers must hold each of the {len(item.responses)} responses once"
    return ""
