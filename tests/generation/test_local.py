from __future__ import annotations

import pytest
import torch
from tests.training.world import tiny_policy

from trimtab.errors import ModelError
from trimtab.generation.local import LocalModel
from trimtab.types import Message, Prompt

QUESTIONS = [Prompt((Message("user", f"question {n}"),)) for n in range(3)]


@pytest.mark.parametrize(("style", "after"), [("chatml", 1), ("llama2", 2)])
def test_options_weigh_what_a_plain_forward_says(style: str, after: int) -> None:
    """Oracle: the tokens from the first in which the options differ, by the model's own logits.

    `after` are the tokens that the template writes after an answer: Llama 2 has a space before the end of the turn.
    """
    policy = tiny_policy(style=style)
    model = LocalModel(policy, name="tiny")
    found = model.option_logprobs(QUESTIONS, ["Approved.", "Refused."], lead="It is ")
    template = policy.template
    for question, weights in zip(QUESTIONS, found, strict=True):
        answers = [template.response_ids("It is " + option)[:-after] for option in ("Approved.", "Refused.")]
        shared = next(i for i, (one, two) in enumerate(zip(*answers, strict=False)) if one != two)
        for answer, weight in zip(answers, weights, strict=True):
            whole = template.prompt_ids(question) + answer
            start = len(template.prompt_ids(question)) + shared
            with torch.no_grad():
                logprobs = policy.model(torch.tensor([whole])).logits[0].log_softmax(-1)
            expected = sum(logprobs[i - 1, whole[i]].item() for i in range(start, len(whole)))
            assert abs(weight - expected) < 1e-4


def test_the_order_of_options_does_not_matter() -> None:
    model = LocalModel(tiny_policy(), name="tiny")
    ((first, second),) = model.option_logprobs(QUESTIONS[:1], ["yes", "no"])
    ((second_again, first_again),) = model.option_logprobs(QUESTIONS[:1], ["no", "yes"])
    assert abs(first - first_again) < 1e-5
    assert abs(second - second_again) < 1e-5


def test_an_option_that_begins_another_is_refused() -> None:
    with pytest.raises(ValueError, match="begins another"):
        LocalModel(tiny_policy(), name="tiny").option_logprobs(QUESTIONS[:1], ["Yes", "Yes, but"])


def test_it_writes_and_says_how_far_it_is() -> None:
    heard: list[tuple[int, int]] = []
    model = LocalModel(tiny_policy(), name="tiny")
    groups = model.write(QUESTIONS, group_size=2, max_new_tokens=4, seed=1, on_progress=lambda *far: heard.append(far))
    assert [len(group) for group in groups] == [2, 2, 2]
    assert heard[-1] == (6, 6)


def test_what_is_too_long_for_the_model_is_refused_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = tiny_policy()
    model = LocalModel(policy, name="tiny")
    template, options = policy.template, ["yes", "no"]
    longest = max(len(template.prompt_ids(QUESTIONS[0])) + len(template.unfinished_ids(one)) for one in options)
    monkeypatch.setattr(policy.trunk.config, "max_position_embeddings", longest)
    assert len(model.option_logprobs(QUESTIONS, options)) == 3
    computed: list[object] = []
    monkeypatch.setattr(policy, "logprobs", lambda batch: computed.append(batch))
    too_long = Prompt((Message("user", "question 0 and more"),))
    with pytest.raises(ModelError, match=rf"tiny has .* reads at most {longest}\. Take a model that reads further"):
        model.option_logprobs([*QUESTIONS, too_long], options)
    assert not computed
    room = longest - len(template.prompt_ids(QUESTIONS[0]))
    assert len(model.write(QUESTIONS, max_new_tokens=room)) == 3
    with pytest.raises(ModelError, match="max_new_tokens"):
        model.write(QUESTIONS, max_new_tokens=room + 1)
