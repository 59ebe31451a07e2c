"""Critique and revision: a model drafts, criticises its draft by a principle, and writes it anew (Constitutional AI,
section 3). Chains are kept whole, so that a person can read how each revision came about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from trimtab.feedback.constitution import Constitution, Principle, WorkedExample
from trimtab.feedback.language_model import Progress, Writer
from trimtab.seeds import mix
from trimtab.types import Message, Prompt


@dataclass(frozen=True, slots=True)
class Text:
    """What a model wrote, and whether it ended it by itself."""

    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Round:
    """One critique of the answer before, by one principle, and the revision that follows it."""

    principle: str
    critique: Text
    revision: Text


@dataclass(frozen=True, slots=True)
class Chain:
    """A prompt, the first answer to it, and its rounds in order."""

    prompt: Prompt
    draft: Text
    rounds: tuple[Round, ...] = ()

    @property
    def answer(self) -> Text:
        """The answer as it stands."""
        return self.rounds[-1].revision if self.rounds else self.draft

    def before(self, number: int) -> Text:
        """The answer that round `number` (from 0) began with."""
        return self.rounds[number - 1].revision if number else self.draft


Pick = Callable[[Sequence[Chain], Sequence[Sequence[Text]]], Sequence[Text]]
"""Takes one of several revisions of each chain's answer."""


def write_drafts(
    author: Writer, prompts: Sequence[Prompt], *, max_new_tokens: int, temperature: float, seed: int, progress: Progress
) -> list[Chain]:
    """Answer every prompt, for better or worse."""
    texts = _write(author, prompts, "drafts", 1, max_new_tokens, temperature, seed, progress)
    return [Chain(prompt, text) for prompt, (text,) in zip(prompts, texts, strict=True)]


def revise(
    critic: Writer,
    chains: Sequence[Chain],
    constitution: Constitution,
    examples: Sequence[WorkedExample],
    *,
    num_examples: int,
    num_revisions: int,
    pick: Pick,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    progress: Progress,
) -> list[Chain]:
    """One more round on every chain: a principle drawn for each, a critique by it, a revision by the critique.

    Which principle a chain gets is fixed by the seed, the round and its place. Chains of one principle are shown the
    same examples: prompts that begin alike are read faster. Of several revisions written by each critique one is taken,
    by `pick`.
    """
    number = len(chains[0].rounds) if chains else 0
    drawn = [Random(mix(seed, number, place)).choice(constitution.principles) for place in range(len(chains))]
    shown = {
        principle: _drawn(examples, num_examples, Random(mix(seed, number, 0, place)))
        for place, principle in enumerate(constitution.principles)
    }
    asked = [
        critique_question(chain.prompt, chain.answer.text, principle, shown[principle])
        for chain, principle in zip(chains, drawn, strict=True)
    ]
    name = f"critiques, round {number + 1}"
    critiques = _write(critic, asked, name, 1, max_new_tokens, temperature, mix(seed, 2 * number + 1), progress)
    asked = [
        revision_question(question, critique.text, principle)
        for question, (critique,), principle in zip(asked, critiques, drawn, strict=True)
    ]
    name = f"revisions, round {number + 1}"
    revisions = _write(
        critic, asked, name, num_revisions, max_new_tokens, temperature, mix(seed, 2 * number + 2), progress
    )
    picked = pick(chains, revisions) if num_revisions > 1 else [several[0] for several in revisions]
    return [
        Chain(chain.prompt, chain.draft, (*chain.rounds, Round(principle.id, critique, revision)))
        for chain, principle, (critique,), revision in zip(chains, drawn, critiques, picked, strict=True)
    ]


def critique_question(prompt: Prompt, answer: str, principle: Principle, examples: Sequence[WorkedExample]) -> Prompt:
    """Worked examples as turns of a conversation, then the answer at hand with the request to criticise it."""
    turns = [turn for example in examples for turn in _worked(example, principle)]
    return Prompt((*turns, Message("user", _exchange(_asked(prompt), answer, principle.critique))), prompt.meta)


def revision_question(question: Prompt, critique: str, principle: Principle) -> Prompt:
    """The conversation of `critique_question` after the critique, with the request to revise."""
    turns = (Message("assistant", critique), Message("user", principle.revision))
    return Prompt((*question.messages, *turns), question.meta)


def _worked(example: WorkedExample, principle: Principle) -> tuple[Message, ...]:
    return (
        Message("user", _exchange(example.prompt, example.draft, principle.critique)),
        Message("assistant", example.critique),
        Message("user", principle.revision),
        Message("assistant", example.revision),
    )


def _drawn(examples: Sequence[WorkedExample], number: int, draw: Random) -> list[WorkedExample]:
    """Some of the examples, in their own order."""
    return [examples[place] for place in sorted(draw.sample(range(len(examples)), min(number, len(examples))))]


def _exchange(prompt: str, answer: str, request: str) -> str:
    return f"A person asked:\n{prompt}\n\nAn assistant answered:\n{answer}\n\n{request}"


def _asked(prompt: Prompt) -> str:
    """What a person said; of a dialogue all turns, with who said each."""
    turns = [message for message in prompt.messages if message.role != "system"]
    if len(turns) == 1:
        return turns[0].content
    return "\n".join(f"{'Person' if turn.role == 'user' else 'Assistant'}: {turn.content}" for turn in turns)


def _write(
    writer: Writer,
    prompts: Sequence[Prompt],
    name: str,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    progress: Progress,
) -> list[list[Text]]:
    groups = writer.write(
        prompts,
        group_size=group_size,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        on_progress=lambda done, total: progress(name, done, total),
    )
    return [[Text(one.text.strip(), one.finish_reason) for one in group] for group in groups]
