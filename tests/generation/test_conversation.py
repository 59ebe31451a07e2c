"""What a conversation remembers, and how its answers end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.training.world import tiny_policy

from trimtab.errors import ModelError
from trimtab.generation.conversation import Conversation
from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.models.policy import Policy
from trimtab.types import Completion, Message, Prompt

LIMIT = 256  # what the tiny model's configuration says


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


def greedy(policy: Policy, **options: Any) -> Conversation:
    return Conversation(policy, temperature=0, **{"max_new_tokens": 12, **options})


def completion(policy: Policy, *messages: Message, max_new_tokens: int = 12) -> Completion:
    template = policy.template
    engine = Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id)
    ((one,),) = complete(engine, template, [Prompt(messages)], max_new_tokens=max_new_tokens, temperature=0)
    return one


def say(conversation: Conversation, text: str) -> str:
    return "".join(conversation.answer(text))


def test_an_answer_is_the_models_completion(policy: Policy) -> None:
    conversation = greedy(policy)
    expected = completion(policy, Message("user", "hello"))
    assert say(conversation, "hello") == expected.text
    last = conversation.last
    assert (last.text, last.tokens, last.finish_reason) == (
        expected.text,
        len(expected.token_ids),
        expected.finish_reason,
    )


def test_the_stop_token_is_counted_and_not_shown(policy: Policy) -> None:
    for seed in range(200):
        conversation = Conversation(policy, temperature=1.0, seed=seed, max_new_tokens=64)
        drawn = list(conversation.answer("hello"))
        if conversation.last.finish_reason == "stop":
            break
    last = conversation.last
    assert last.finish_reason == "stop"
    assert last.text == "".join(drawn)
    assert "<|im_end|>" not in last.text
    assert 1 <= last.tokens <= 64


def test_the_next_answer_knows_what_was_said(policy: Policy) -> None:
    conversation = greedy(policy, system="be brief")
    first = say(conversation, "one")
    said = [Message("system", "be brief"), Message("user", "one"), Message("assistant", first), Message("user", "two")]
    assert say(conversation, "two") == completion(policy, *said).text
    assert [message.role for message in conversation.messages] == ["system", "user", "assistant", "user", "assistant"]


def test_a_new_conversation_knows_nothing(policy: Policy) -> None:
    conversation = greedy(policy)
    first = say(conversation, "one")
    say(conversation, "two")
    conversation.begin()
    assert say(conversation, "one") == first
    conversation.begin("be brief")
    assert conversation.messages == (Message("system", "be brief"),)


def test_the_seed_fixes_the_draws_and_a_question_asked_again_is_answered_anew(policy: Policy) -> None:
    one, same, other = (Conversation(policy, seed=seed, max_new_tokens=12) for seed in (1, 1, 2))
    first = say(one, "hello")
    assert say(same, "hello") == first
    assert say(other, "hello") != first
    one.begin()
    assert say(one, "hello") != first


def test_an_answer_that_is_closed_stays_as_far_as_it_came(policy: Policy) -> None:
    conversation = greedy(policy)
    answer = conversation.answer("hello")
    pieces = [next(answer), next(answer)]
    answer.close()
    assert conversation.last.finish_reason == "stopped"
    assert conversation.messages == (Message("user", "hello"), Message("assistant", "".join(pieces)))


def test_an_interrupted_answer_stays_as_far_as_it_came(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Engine.stream

    def interrupted(self: Engine, *args: Any, **options: Any) -> Iterator[int]:
        for number, token in enumerate(whole(self, *args, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield token

    monkeypatch.setattr(Engine, "stream", interrupted)
    conversation, expected = greedy(policy), completion(policy, Message("user", "hello")).text
    with pytest.raises(KeyboardInterrupt):
        say(conversation, "hello")
    assert (conversation.last.tokens, conversation.last.finish_reason) == (3, "stopped")
    kept = conversation.messages[-1].content
    assert kept == conversation.last.text
    assert kept
    assert expected.startswith(kept)


def test_a_message_without_an_answer_is_forgotten(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Iterator[int]:
        raise KeyboardInterrupt
        yield 0

    conversation = greedy(policy)
    monkeypatch.setattr(Engine, "stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(conversation.answer("hello"))
    assert conversation.messages == ()


def test_an_answer_that_never_began_is_no_answer(policy: Policy) -> None:
    conversation = greedy(policy)
    say(conversation, "hello")
    before = conversation.messages
    conversation.answer("and you?").close()
    assert (conversation.last.text, conversation.last.finish_reason) == ("", "stopped")
    assert conversation.messages == before


def words(policy: Policy, tokens: int) -> str:
    """A message with which the prompt is exactly this long."""
    count = 0
    while len(policy.template.prompt_ids(Prompt((Message("user", "x" * count),)))) < tokens:
        count += 1
    return "x" * count


def test_an_answer_ends_where_the_model_can_read_no_further(policy: Policy) -> None:
    conversation = greedy(policy)
    say(conversation, words(policy, LIMIT - 5))
    assert (conversation.last.tokens, conversation.last.finish_reason) == (5, "length")


def test_a_message_that_does_not_fit_is_refused_and_forgotten(policy: Policy) -> None:
    conversation = greedy(policy)
    with pytest.raises(ModelError, match=r"would be 256 tokens long .* reads at most 256"):
        conversation.answer(words(policy, LIMIT))
    assert conversation.messages == ()
    assert say(conversation, "hello") == completion(policy, Message("user", "hello")).text


@pytest.mark.parametrize("bad", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_impossible_settings_are_errors(policy: Policy, bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Conversation(policy, **bad)  # type: ignore[arg-type]
