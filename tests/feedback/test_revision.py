from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.feedback.world import Author, asked, write_constitution, write_examples

from trimtab.feedback.chains import JudgedChain, chain_row, demonstration_rows, from_state, to_state
from trimtab.feedback.constitution import WorkedExample, read_constitution, read_examples
from trimtab.feedback.revision import Chain, Text, critique_question, revise, write_drafts
from trimtab.types import Message, Prompt

PROMPTS = [asked(f"request {number}", id=f"r{number}") for number in range(40)]
SETTINGS = {"max_new_tokens": 8, "temperature": 1.0, "progress": lambda *_: None}


def told(prompt: Prompt) -> str:
    """An answer that shows which request it was for: a critique, a revision, or a draft."""
    last = prompt.messages[-1].content
    kind = "critique" if "What is not" in last else "revision" if "Write it anew" in last else "draft"
    return f" {kind} of {len(prompt.messages)} turns "


def first(chains: Sequence[Chain], options: Sequence[Sequence[Text]]) -> list[Text]:
    return [several[0] for several in options]


def chains_of(tmp_path: Path, author: Author, *, rounds: int, seed: int = 0) -> list[Chain]:
    constitution = read_constitution(write_constitution(tmp_path))
    examples = read_examples(write_examples(tmp_path))
    chains = write_drafts(author, PROMPTS, seed=seed, **SETTINGS)
    for _ in range(rounds):
        chains = revise(
            author, chains, constitution, examples, num_examples=1, num_revisions=1, pick=first, seed=seed, **SETTINGS
        )
    return chains


def test_a_chain_is_a_draft_and_rounds(tmp_path: Path) -> None:
    author = Author(told)
    chains = chains_of(tmp_path, author, rounds=2)
    assert len(author.calls) == 1 + 2 * 2
    chain = chains[0]
    assert chain.draft.text == "draft of 1 turns"
    # one worked example is four turns; the critique's request is the fifth, the critique and the next request 6 and 7
    assert [(one.critique.text, one.revision.text) for one in chain.rounds] == [
        ("critique of 5 turns", "revision of 7 turns")
    ] * 2
    assert chain.before(0) == chain.draft
    assert chain.before(1) == chain.rounds[0].revision
    assert chain.answer == chain.rounds[1].revision


def test_each_round_revises_the_answer_before_by_its_principle(tmp_path: Path) -> None:
    author = Author(told)
    chains = chains_of(tmp_path, author, rounds=2)
    critiques, revisions = author.calls[3][0], author.calls[4][0]
    for chain, critique, revision in zip(chains, critiques, revisions, strict=True):
        principle = chain.rounds[1].principle
        assert critique.messages[-1].content == (
            f"A person asked:\n{chain.prompt.messages[0].content}\n\nAn assistant answered:\nrevision of 7 turns\n\n"
            f"What is not {principle} about the answer?"
        )
        assert revision.messages[-2:] == (
            Message("assistant", "critique of 5 turns"),
            Message("user", f"Write it anew, more {principle}."),
        )


def test_of_several_revisions_one_is_picked(tmp_path: Path) -> None:
    constitution = read_constitution(write_constitution(tmp_path))
    author = Author(told)
    chains = write_drafts(author, PROMPTS[:3], seed=0, **SETTINGS)

    def longest(before: Sequence[Chain], options: Sequence[Sequence[Text]]) -> list[Text]:
        assert [len(several) for several in options] == [4, 4, 4]
        return [Text(f"picked for {chain.prompt.meta['id']}", "stop") for chain in before]

    revised = revise(
        author, chains, constitution, (), num_examples=2, num_revisions=4, pick=longest, seed=0, **SETTINGS
    )
    assert [chain.answer.text for chain in revised] == ["picked for r0", "picked for r1", "picked for r2"]


def test_principles_are_drawn_anew_each_round_and_by_the_seed(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[tuple[str, ...]]:
        return [
            tuple(one.principle for one in chain.rounds)
            for chain in chains_of(tmp_path, Author(told), rounds=2, seed=seed)
        ]

    first = drawn(0)
    assert first == drawn(0) != drawn(1)
    assert {name for pair in first for name in pair} == {"kind", "honest", "safe"}
    assert any(one != two for one, two in first)


def test_chains_of_one_principle_are_shown_the_same_examples(tmp_path: Path) -> None:
    def shown(seed: int) -> list[dict[str, set[str]]]:
        constitution = read_constitution(write_constitution(tmp_path))
        examples = [WorkedExample(f"request {n}", "draft", "critique", "revision") for n in range(20)]
        author, rounds = Author(told), []
        chains = write_drafts(author, PROMPTS, seed=seed, **SETTINGS)
        for _ in range(2):
            chains = revise(
                author,
                chains,
                constitution,
                examples,
                num_examples=3,
                num_revisions=1,
                pick=first,
                seed=seed,
                **SETTINGS,
            )
            beginnings: dict[str, set[str]] = {}
            for chain, asked_for in zip(chains, author.calls[-2][0], strict=True):
                beginning = "".join(message.content for message in asked_for.messages[:-1])
                beginnings.setdefault(chain.rounds[-1].principle, set()).add(beginning)
            rounds.append(beginnings)
        return rounds

    one, two = shown(0)
    assert all(len(beginnings) == 1 for beginnings in (*one.values(), *two.values()))
    assert len({text for beginnings in one.values() for text in beginnings}) == 3
    assert one != two
    assert [one, two] == shown(0) != shown(1)


def test_critiques_and_revisions_have_seeds_of_their_own(tmp_path: Path) -> None:
    author = Author(told)
    chains_of(tmp_path, author, rounds=3)
    assert len({seed for _, seed in author.calls}) == len(author.calls)


def test_a_dialogue_is_shown_with_who_said_what(tmp_path: Path) -> None:
    dialogue = Prompt(
        (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
    )
    principle = read_constitution(write_constitution(tmp_path)).principles[0]
    question = critique_question(dialogue, "Because.", principle, ())
    assert question.messages[0].content.startswith("A person asked:\nPerson: Hi\nAssistant: Hello\nPerson: Why?\n\n")


def test_chains_survive_the_disk(tmp_path: Path) -> None:
    chains = chains_of(tmp_path, Author(told), rounds=2)
    assert from_state(to_state(chains), PROMPTS) == chains


def test_rows_for_people_and_rows_for_learning(tmp_path: Path) -> None:
    chain = chains_of(tmp_path, Author(told), rounds=2)[3]
    judged = JudgedChain(chain, ("", "off topic"), (0.5, 1.5, 2.5))
    row = chain_row(judged, 4)
    assert (row["id"], row["draft_score"]) == ("r3", 0.5)
    assert [(one["kept"], one["dropped"], one["score"]) for one in row["rounds"]] == [
        (True, "", 1.5),
        (False, "off topic", 2.5),
    ]
    (learnt,) = demonstration_rows(judged, 4)
    assert learnt["id"] == "r3/1"
    assert learnt["completion"] == [{"role": "assistant", "content": "revision of 7 turns"}]
    assert learnt["principle"] == chain.rounds[0].principle
    assert chain_row(JudgedChain(chain, ("", "")), 4)["draft_score"] is None
