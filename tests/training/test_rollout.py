"""Rollouts: whatever order and batches things were computed in, every number stands beside its own token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tests.models.plain import each_response, plain_logprobs, plain_table, stir
from tests.training.loops import ADAPTER, LARGE, SMALL
from tests.training.world import prompts, tiny_policy
from torch import Tensor

from trimtab.feedback.scorers import FunctionScorer, RewardModelScorer
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import reference_of
from trimtab.models.rows import RowBatch, TokenRow
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.rollout import Rollout, collect, measure, measure_reference, over_rows
from trimtab.types import Completion, Prompt

TEMPERATURE = 0.8
PROMPTS = [*prompts(3), Prompt((*prompts(1)[0].messages, *prompts(5)[4].messages))]


def talkative_policy(adapter: bool) -> Policy:
    """One whose turns end now and then, and which is not its reference."""
    policy = tiny_policy(adapter=adapter)
    with torch.no_grad():
        policy.trunk.causal_lm.get_input_embeddings().weight[policy.template.end_of_turn_id] *= 3
    if adapter:
        stir(policy.trunk, "policy")
    return policy


def length_and_place(prompt: Prompt, completion: Completion) -> float:
    """A score that tells which completion of which prompt it belongs to."""
    assert completion.prompt == prompt
    return 100.0 * PROMPTS.index(prompt) + sum(completion.token_ids) % 97


@dataclass(frozen=True)
class Measured:
    """A rollout and what policy and reference say of it."""

    rollout: Rollout
    logprobs: Tensor
    entropies: Tensor
    ref_logprobs: Tensor


def roll_out(policy: Policy, engine: Engine | None = None) -> Rollout:
    template = policy.template
    return collect(
        policy,
        FunctionScorer(length_and_place),
        engine or Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id, max_batch=5),
        PROMPTS,
        group_size=3,
        max_new_tokens=7,
        temperature=TEMPERATURE,
        seed=3,
    )


def measured(rollout: Rollout, policy: Policy, folder: Path, max_tokens: int) -> Measured:
    reference = reference_of(policy, folder / "reference.safetensors")
    logprobs, entropies = measure(rollout, policy, temperature=TEMPERATURE, max_tokens=max_tokens)
    ref_logprobs = measure_reference(
        rollout, reference, temperature=TEMPERATURE, max_tokens=max_tokens, pad_id=policy.template.pad_id
    )
    return Measured(rollout, logprobs, entropies, ref_logprobs)


@torch.no_grad()
def plain(model: torch.nn.Module, rows: Sequence[TokenRow]) -> Tensor:
    return each_response(rows, lambda *pair: plain_logprobs(model, *pair, TEMPERATURE))


@pytest.mark.parametrize("max_tokens", [1, SMALL, LARGE])
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_every_tensor_lines_up(tmp_path: Path, adapter: bool, max_tokens: int) -> None:
    """Each completion alone through the plain model gives the numbers that stand in its row."""
    policy = talkative_policy(adapter)
    rollout = roll_out(policy)
    assert set(rollout.finished.tolist()) == {True, False}
    check_lines_up(measured(rollout, policy, tmp_path, max_tokens), policy)


def check_lines_up(measured: Measured, policy: Policy) -> None:
    rollout = measured.rollout
    template, rows = policy.template, rollout.rows
    assert [row.prompt_ids for row in rows] == [tuple(template.prompt_ids(prompt)) for prompt in PROMPTS]
    assert [len(row.responses) for row in rows] == [3] * len(PROMPTS)
    responses = [response for row in rows for response in row.responses]
    completions = [completion for group in rollout.completions for completion in group]
    assert [completion.token_ids for completion in completions] == responses
    assert [completion.text for completion in completions] == [template.decode(response) for response in responses]

    ended = [response[-1] in template.stop_ids for response in responses]
    assert rollout.finished.tolist() == ended
    assert all(len(response) == 7 for response, end in zip(responses, ended, strict=True) if not end)
    assert rollout.mask.tolist() == [[t < len(r) for t in range(rollout.mask.shape[1])] for r in responses]
    scores = [100.0 * (r // 3) + sum(response) % 97 for r, response in enumerate(responses)]
    assert rollout.scores.tolist() == scores

    logprobs = plain(policy.model, rows)
    with torch.no_grad():
        tables = [plain_table(policy.model, row.prompt_ids, r, TEMPERATURE) for row in rows for r in row.responses]
    entropies = torch.nn.utils.rnn.pad_sequence([-(t.exp() * t).sum(-1) for t in tables], batch_first=True)
    for actual, expected in (
        (measured.logprobs, logprobs),
        (rollout.sampler_logprobs, logprobs),
        (measured.entropies, entropies),
        (measured.ref_logprobs, reference_logprobs(policy, rows)),
    ):
        torch.testing.assert_close(actual.double(), expected, atol=1e-4, rtol=0)
    assert (rollout.sampler_logprobs - measured.logprobs).abs().max() < 1e-4
    assert not measured.logprobs.requires_grad


def reference_logprobs(policy: Policy, rows: Sequence[TokenRow]) -> Tensor:
    """Of the policy when training began: the model without its adapter, or, of all weights, as it still is."""
    if policy.adapter is None:
        return plain(policy.model, rows)
    with policy.model.disable_adapter():
        without = plain(policy.model, rows)
    assert (without - plain(policy.model, rows)).abs().max() > 0.1
    return without


def test_the_engine_samples_from_the_policy_as_it_is_now(tmp_path: Path) -> None:
    """After it has learned, and though another adapter on the trunk ran last."""
    policy = talkative_policy(adapter=True)
    template = policy.template
    engine = Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id, max_batch=5)
    before = roll_out(policy, engine)
    policy.trunk.add_adapter("value", **ADAPTER | {"dropout": 0.5})
    stir(policy.trunk, "policy", seed=2)
    with policy.trunk.using("value", train=True):
        pass
    after = measured(roll_out(policy, engine), policy, tmp_path, LARGE)
    assert after.rollout.completions != before.completions
    with policy.trunk.using("policy"):
        check_lines_up(after, policy)


def test_a_seed_gives_the_same_rollout_again(tmp_path: Path) -> None:
    policy = talkative_policy(adapter=False)
    first, again = (measured(roll_out(policy), policy, tmp_path, LARGE) for _ in range(2))
    assert first.rollout.completions == again.rollout.completions
    assert torch.equal(first.logprobs, again.logprobs)


def test_a_reward_model_scores_the_rollouts_own_tokens_where_the_turn_ends() -> None:
    """Not its text tokenised again. A response that was cut is read as if its turn ended there."""
    policy = talkative_policy(adapter=False)
    end = policy.template.end_of_turn_id
    model = ScalarModel.fresh(tiny_policy(seed=4).trunk, adapter=None, seed=0)
    rollout = roll_out(policy)
    scorer = RewardModelScorer(model, policy.template, max_tokens=SMALL)
    scores = scorer(PROMPTS, rollout.completions, rollout.rows)
    decoder, expected = model.trunk.causal_lm.get_decoder(), []
    with torch.no_grad():
        for row in rollout.rows:
            for response in row.responses:
                is_cut = response[-1] not in policy.template.stop_ids
                read = row.prompt_ids + response + (end,) * is_cut
                states = decoder(torch.tensor([read])).last_hidden_state
                expected.append(states[0, -1].double() @ model.head.weight[0].double())
    torch.testing.assert_close(scores.double(), torch.stack(expected), atol=1e-4, rtol=0)
    assert 0 < int(rollout.finished.sum()) < len(rollout.finished)  # both kinds were there


@pytest.mark.parametrize("max_tokens", [1, 9, 14, 100])
def test_results_come_back_in_the_order_of_the_rows(max_tokens: int) -> None:
    """Micro-batches are sorted by length; what is returned is not. Tokens are their own witnesses."""
    responses = [((11, 12, 13), (14,)), ((21,),), ((31, 32), (), (33, 34, 35, 36)), ((41, 42),)]
    rows = [TokenRow((n,), group) for n, group in enumerate(responses, start=1)]

    def witness(batch: RowBatch) -> tuple[Tensor, Tensor]:
        tokens = batch.targets.masked_fill(~batch.mask, 0)
        prompt = batch.input_ids.flatten()[batch.predicted_from[:, :1]].float()
        return tokens, prompt.expand(batch.mask.shape).masked_fill(~batch.mask, 0)

    tokens, prompts_seen = over_rows(rows, witness, max_tokens=max_tokens, pad_id=9, device="cpu")
    flat = [response for group in responses for response in group]
    assert tokens.tolist() == [[*response, *[0] * (4 - len(response))] for response in flat]
    owners = [n for n, group in enumerate(responses, start=1) for _ in group]
    expected = [
        [owner] * len(response) + [0] * (4 - len(response)) for owner, response in zip(owners, flat, strict=True)
    ]
    assert prompts_seen.tolist() == expected
    assert prompts_seen.dtype == torch.float32
