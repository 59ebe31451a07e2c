"""A model that compares answers by written instructions, in both orders, with probabilities rather than votes.

The probability that an answer is the better one is that of its option letter (Bai et al., 2022, section 4.1), averaged
over both orders (Lee et al., 2023, section 2.1) and over all questions that are asked. What a model does not say is
never guessed: a judgement without a number says why it has none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trimtab.feedback.fence import NOTICE, fenced, mark_for
from trimtab.feedback.language_model import LanguageModel, Progress
from trimtab.types import Message, Prompt

LETTERS = ("A", "B")
LEAD = "Answer "
CLAMP = (0.4, 0.6)
"""Where probabilities after a chain of thought are held: they come out near 0 and 1 (Bai et al., 2022, section 4.1)."""
Why = Literal["", "malformed", "undecided", "orders disagree"]


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a judge goes by. `questions` are asked about every pair, by id; `version` goes with every label."""

    text: str
    questions: tuple[tuple[str, str], ...]

    @property
    def version(self) -> str:
        """A hash of all that is said."""
        said = "\0".join((self.text, *(part for question in self.questions for part in question)))
        return hashlib.sha256(said.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt."""

    prompt: Prompt
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Vote:
    """P(the first answer is better) by one question: asked with it in front, and asked with it behind.

    None where the judge gave no usable answer. `mass` is the probability of both letters together in the worse case.
    """

    question: str
    in_front: float | None
    behind: float | None
    mass: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """P(the first answer is better), or None with the reason in `why`, and the votes it comes from."""

    probability: float | None
    why: Why
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a judge judges.

    `ask`: every question about every pair, or one drawn for each prompt. `thinking`: tokens of reasons written before
    the letter, 0 for none; probabilities are then held within `clamp`. `undecided`: a probability nearer to 1/2 than
    this is no judgement. `disagreement`: nor is one whose two orders differ by more than this. `least_mass`:
    probability that both letters must have together; below it the model does not answer the question.
    """

    ask: Literal["all", "one"] = "all"
    thinking: int = 0
    clamp: tuple[float, float] = CLAMP
    undecided: float = 0.0
    disagreement: float = 1.0
    least_mass: float = 0.01
    fence: bool = True


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question about one pair in one order."""

    pair: int
    question: str
    swapped: bool
    prompt: Prompt


def requests_for(pairs: int, instructions: Instructions, manner: Manner) -> int:
    """How many requests to the model it takes to judge so many pairs."""
    questions = len(instructions.questions) if manner.ask == "all" else 1
    return pairs * questions * 2 * (2 if manner.thinking else 1)  # both orders; reasons are a request of their own


def judge(
    model: LanguageModel,
    pairs: Sequence[Pair],
    instructions: Instructions,
    *,
    manner: Manner = Manner(),
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> list[Judgement]:
    """Judge every pair in both orders. Exchanging the answers of a pair turns p into 1 - p."""
    asked = [
        _Asked(place, id, swapped, _question(pair, instructions, text, swapped, manner, seed))
        for place, pair in enumerate(pairs)
        for id, text in _questions(pair, instructions, manner, seed)
        for swapped in (False, True)
    ]
    questions = [one.prompt for one in asked]
    if manner.thinking:
        questions = _thought(model, questions, manner, seed, progress)
    found = model.option_logprobs(
        questions, LETTERS, lead=LEAD, on_progress=lambda done, total: progress("judging", done, total)
    )
    votes: dict[int, list[tuple[_Asked, float | None, float]]] = {place: [] for place in range(len(pairs))}
    for one, logprobs in zip(asked, found, strict=True):
        p_front, mass = _share(logprobs, manner.least_mass)
        if p_front is not None and manner.thinking:
            p_front = min(max(p_front, manner.clamp[0]), manner.clamp[1])
        votes[one.pair].append((one, p_front, mass))
    return [_judgement(votes[place], manner) for place in range(len(pairs))]


def _questions(pair: Pair, instructions: Instructions, manner: Manner, seed: int) -> Sequence[tuple[str, str]]:
    """All of them, or one that the seed and the prompt fix: what stands in the answers chooses no question."""
    if manner.ask == "all":
        return instructions.questions
    drawn = int(mark_for(seed, _conversation(pair.prompt)), 16)
    return [instructions.questions[drawn % len(instructions.questions)]]


def _mark(pair: Pair, seed: int) -> str:
    """The pair's mark, the same in both orders, so that only the order differs."""
    return mark_for(seed, _conversation(pair.prompt), *sorted((pair.first, pair.second)))


def _question(pair: Pair, instructions: Instructions, text: str, swapped: bool, manner: Manner, seed: int) -> Prompt:
    front, behind = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    request, mark = _conversation(pair.prompt), _mark(pair, seed)
    shown = [fenced(one, mark) if manner.fence else one for one in (request, front, behind)]
    parts = [
        instructions.text.strip(),
        *([NOTICE.format(mark=mark)] if manner.fence else []),
        f"The request:\n{shown[0]}",
        f"Answer A:\n{shown[1]}",
        f"Answer B:\n{shown[2]}",
        f"{text}\nReply with the letter of the better answer, A or B.",
    ]
    return Prompt((Message("user", "\n\n".join(part for part in parts if part)),))


def _conversation(prompt: Prompt) -> str:
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in prompt.messages)


def _thought(
    model: LanguageModel, questions: Sequence[Prompt], manner: Manner, seed: int, progress: Progress
) -> list[Prompt]:
    """The questions after the model has given its reasons."""
    think = "First say in a few sentences what speaks for each answer. Do not decide yet."
    asked = [_with_turn(question, "user", think) for question in questions]
    groups = model.write(
        asked,
        max_new_tokens=manner.thinking,
        temperature=0.0,  # greedy, as in RLAIF (Lee et al., 2023)
        seed=seed,
        on_progress=lambda done, total: progress("thinking", done, total),
    )
    decide = "So which is better? Reply with its letter, A or B."
    return [
        # a model that had nothing to say is asked as it would be without reasons: servers refuse an empty turn
        _with_turn(_with_turn(thinking, "assistant", group[0].text), "user", decide) if group[0].text.strip() else plain
        for plain, thinking, group in zip(questions, asked, groups, strict=True)
    ]


def _with_turn(prompt: Prompt, role: Literal["user", "assistant"], text: str) -> Prompt:
    """One more turn; it joins the last one when that is of the same speaker."""
    *before, last = prompt.messages
    if last.role == role:
        return Prompt((*before, Message(role, f"{last.content}\n{text}")))
    return Prompt((*prompt.messages, Message(role, text)))


def _share(logprobs: tuple[float, ...] | None, least_mass: float) -> tuple[float | None, float]:
    """P(letter A given A or B), None where that cannot be told, and the probability of both together."""
    if logprobs is None or any(math.isnan(one) or one > 1e-3 for one in logprobs):
        return None, 0.0
    highest = max(logprobs)
    if highest == -math.inf:
        return None, 0.0
    weights = [math.exp(one - highest) for one in logprobs]
    mass = math.exp(highest) * math.fsum(weights)
    return (weights[0] / math.fsum(weights), mass) if mass >= least_mass else (None, mass)


def _judgement(found: Sequence[tuple[_Asked, float | None, float]], manner: Manner) -> Judgement:
    votes = []
    for (asked, in_front, mass), (_, other, other_mass) in zip(found[::2], found[1::2], strict=True):
        behind = None if other is None else 1.0 - other
        votes.append(Vote(asked.question, in_front, behind, min(mass, other_mass)))
    fronts = [vote.in_front for vote in votes if vote.in_front is not None]
    behinds = [vote.behind for vote in votes if vote.behind is not None]
    if len(fronts) < len(votes) or len(behinds) < len(votes):
        return Judgement(None, "malformed", tuple(votes))
    front, behind = math.fsum(fronts) / len(fronts), math.fsum(behinds) / len(behinds)
    probability = (front + behind) / 2
    if abs(front - behind) > manner.disagreement:
        return Judgement(None, "orders disagree", tuple(votes))
    if abs(probability - 0.5) < manner.undecided:
        return Judgement(None, "undecided", tuple(votes))
    return Judgement(probability, "", tuple(votes))
