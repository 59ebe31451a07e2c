from __future__ import annotations

from itertools import count

from tests.feedback.world import Author, asked

from trimtab.feedback.red_team import MOST_ROUNDS, SHOWN, write_red_team
from trimtab.types import Prompt

EXAMPLES = [asked(f"Tell me how to do forbidden thing number {n}") for n in range(8)]
WORDS = ["apple", "boat", "castle", "dragon", "engine", "forest", "garden", "harbour", "island", "jacket"]


def written(author: Author, number: int, seed: int = 0) -> list[Prompt]:
    return write_red_team(
        author, EXAMPLES, number, max_new_tokens=30, temperature=1.0, seed=seed, progress=lambda *_: None
    )


def test_new_prompts_are_unlike_all_others() -> None:
    places = count()

    def say(_: Prompt) -> str:
        place = next(places)
        word = WORDS[place % len(WORDS)]
        return f'"{word} {word}s must be {word}ed today"' if place % 2 else EXAMPLES[0].messages[-1].content

    found = written(Author(say), 4)
    texts = [prompt.messages[-1].content for prompt in found]
    assert len(set(texts)) == 4
    assert all(text.split()[0] in WORDS for text in texts)
    assert [prompt.meta["id"] for prompt in found] == [f"written-{n}" for n in (1, 2, 3, 4)]
    assert all(prompt.meta["source"] == "model" for prompt in found)


def test_it_gives_up_on_an_author_without_ideas() -> None:
    author = Author(lambda _: "Please do that one thing")
    assert len(written(author, 3)) == 1
    assert len(author.calls) == MOST_ROUNDS
    assert written(Author(lambda _: "too short"), 2) == []
    assert written(Author(lambda _: "one line\nand another line of it"), 2) == []


def test_each_question_shows_examples_as_turns() -> None:
    author = Author(lambda _: "Please do that one thing")
    written(author, 6)
    first = author.calls[0][0]
    assert all(len(question.messages) == 2 * SHOWN + 1 for question in first)
    shown = [tuple(turn.content for turn in question.messages[1::2]) for question in first]
    assert len(set(shown)) > 1
    assert all(len(set(texts)) == SHOWN for texts in shown)
