"""Learning: each method finds an optimum that is known in closed form, with all weights and with an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor

from trimtab.feedback.scorers import FunctionScorer
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference, reference_of
from trimtab.models.rows import TokenRow
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.dpo import train_dpo
from trimtab.training.grpo import GRPOSettings, train_grpo
from trimtab.training.passes import Passes
from trimtab.training.ppo import PPOSettings, train_ppo
from trimtab.training.row_files import Pair, PreferenceRow
from trimtab.training.step import OptimizerSettings
from trimtab.types import Completion, Prompt

BETA = 0.5
PPO = PPOSettings(
    num_steps=40,
    prompts_per_step=4,
    group_size=32,
    max_new_tokens=1,
    temperature=1.0,
    num_epochs=2,
    minibatch_size=64,
    value_learning_rate=1e-2,
    value_warmup_steps=0,
    kl_coef=BETA,
    kl_target=None,
    kl_horizon=10_000,
    gamma=1.0,
    gae_lambda=0.95,
    clip_eps=0.2,
    value_clip_eps=0.2,
    importance_cap=2.0,
    whiten_rewards=False,
    whiten_advantages=True,
    missing_eos_penalty=0.0,
)
GRPO = GRPOSettings(
    num_steps=40,
    prompts_per_step=4,
    group_size=64,
    max_new_tokens=1,
    temperature=1.0,
    num_epochs=1,
    minibatch_size=None,
    kl_coef=1.0,
    clip_eps=0.2,
    advantages="centred",
    aggregation="response",
    importance_cap=2.0,
    missing_eos_penalty=0.0,
)
OPTIMIZER = OptimizerSettings(learning_rate=3e-3, schedule="linear", warmup_ratio=0.0)
both_kinds = pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])


def next_token_logprobs(policy: Policy, prompt: Prompt) -> Tensor:
    """The whole distribution of the first response token, by the model's own forward."""
    ids = torch.tensor([policy.template.prompt_ids(prompt)])
    with torch.no_grad(), policy.trunk.using(policy.adapter):
        return policy.model(input_ids=ids).logits[0, -1].float().log_softmax(-1)


@dataclass(frozen=True)
class Bandit:
    """Four prompts, one token to answer, and a reward of that token.

    The reward is linear in the token's embedding, so the best policy is one that a shift of the hidden state reaches:
    an adapter can be it.
    """

    policy: Policy
    questions: list[Prompt]
    before: list[Tensor]
    reward: Tensor

    @classmethod
    def of(cls, policy: Policy) -> Bandit:
        torch.set_num_threads(1)
        questions = prompts(4)
        embeddings = policy.trunk.causal_lm.get_input_embeddings().weight.detach().clone()
        direction = torch.randn(embeddings.shape[1], generator=torch.Generator().manual_seed(0))
        reward = embeddings @ direction
        reward *= 0.25 / reward.std()
        return cls(policy, questions, [next_token_logprobs(policy, prompt) for prompt in questions], reward)

    def score(self, prompt: Prompt, completion: Completion) -> float:
        return self.reward[completion.token_ids[0]].item()

    def reference(self, folder: Path) -> Reference:
        return reference_of(self.policy, folder / "reference.safetensors")

    def engine(self) -> Engine:
        template = self.policy.template
        return Engine(self.policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id)

    def learnt(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Log-probabilities of all tokens, prompt by prompt: before and now."""
        for prompt, before in zip(self.questions, self.before, strict=True):
            yield before, next_token_logprobs(self.policy, prompt)


def share_earned(reference: Tensor, logprobs: Tensor, reward: Tensor) -> float:
    """How much of the way to the best policy under a KL penalty, the reference times exp(reward / beta), was gone.

    What a policy earns is E[reward] - beta KL; the best one earns beta log E_ref[exp(reward / beta)] (Korbak et al.
    2022, section 3).
    """
    earned = (logprobs.exp() * (reward - BETA * (logprobs - reference))).sum()
    start = (reference.exp() * reward).sum()
    best = BETA * (reference + reward / BETA).logsumexp(-1)
    assert earned <= best + 1e-5
    return ((earned - start) / (best - start)).item()


@both_kinds
def test_ppo_reaches_the_optimum_of_a_bandit(tmp_path: Path, adapter: bool) -> None:
    """One token. PPO must close at least nine tenths of the distance between the reference's earnings and the best."""
    bandit = Bandit.of(tiny_policy(adapter=adapter))
    policy = bandit.policy
    if adapter:
        value_model = ScalarModel.fresh(policy.trunk, adapter="policy", seed=0).copy("value")
    else:
        value_model = ScalarModel.fresh(tiny_policy(seed=1).trunk, adapter=None, seed=0)
    train_ppo(
        policy,
        bandit.reference(tmp_path),
        FunctionScorer(bandit.score),
        value_model,
        bandit.engine(),
        bandit.questions,
        settings=PPO,
        optimizer_settings=OPTIMIZER,
        seed=0,
        checkpoint_seconds=1e9,
        run=MemoryRun(tmp_path),
    )
    for reference, logprobs in bandit.learnt():
        assert share_earned(reference, logprobs, bandit.reward) >= 0.9


@both_kinds
def test_dpo_reaches_the_optimum_of_a_bandit(tmp_path: Path, adapter: bool) -> None:
    """Labels are the very probabilities of Bradley-Terry under the reward, so the loss is least where the implicit
    reward is the reward: the same best policy, found without a sample. Among the 64 answers that were compared."""
    bandit = Bandit.of(tiny_policy(adapter=adapter))
    generator = torch.Generator().manual_seed(1)
    compared = torch.randperm(len(bandit.reward), generator=generator)[:64]
    reward = bandit.reward[compared]
    rows = []
    for question in bandit.questions:
        pairs = torch.randint(64, (256, 2), generator=generator).tolist()
        prompt_ids = tuple(bandit.policy.template.prompt_ids(question))
        rows.append(
            PreferenceRow(
                TokenRow(prompt_ids, tuple((token,) for token in compared.tolist())),
                tuple(Pair(a, b, (reward[a] - reward[b]).sigmoid().item(), 0.0) for a, b in pairs),
            )
        )
    train_dpo(
        bandit.policy,
        bandit.reference(tmp_path),
        rows,
        settings=replace(OPTIMIZER, learning_rate=3e-3 if adapter else 1e-3),
        passes=Passes(40, 4),
        beta=BETA,
        seed=0,
        checkpoint_seconds=1e9,
        run=MemoryRun(tmp_path),
    )
    for reference, logprobs in bandit.learnt():
        restricted = (both[compared].log_softmax(-1) for both in (reference, logprobs))
        assert share_earned(*restricted, reward) >= 0.95


@both_kinds
def test_grpo_reaches_the_optimum_of_a_bandit(tmp_path: Path, adapter: bool) -> None:
    """GRPO differentiates its k3 estimate at tokens the policy drew, which on average is the gradient of
    KL(reference || policy) (`test_grpo.py`). What it climbs is therefore J = E_policy[reward] - beta KL(reference ||
    policy). Where the gradient in the logits is 0, p (reward - E[reward]) = beta (p - p_ref), so the best policy is
    beta p_ref / (c - reward), with c such that it sums to 1. GRPO must close nine tenths of the distance."""
    bandit = Bandit.of(tiny_policy(adapter=adapter))
    train_grpo(
        bandit.policy,
        bandit.reference(tmp_path),
        FunctionScorer(bandit.score),
        bandit.engine(),
        bandit.questions,
        settings=GRPO,
        optimizer_settings=replace(OPTIMIZER, learning_rate=3e-3 if adapter else 1e-3),
        seed=0,
        checkpoint_seconds=1e9,
        run=MemoryRun(tmp_path),
    )
    beta, reward = GRPO.kl_coef, bandit.reward.double()
    for reference, logprobs in bandit.learnt():
        start, reached = reference.double().exp(), logprobs.double().exp()

        def objective(policy: Tensor, start: Tensor = start) -> float:
            return ((policy * reward).sum() - beta * (start * (start / policy).log()).sum()).item()

        best = beta * start / (constant_of(start, reward, beta) - reward)
        assert best.sum().item() == pytest.approx(1)
        assert objective(best) > max(objective(start), objective((start.log() + reward / beta).softmax(-1)))
        assert objective(reached) <= objective(best) + 1e-6
        assert objective(reached) - objective(start) >= 0.9 * (objective(best) - objective(start))


def constant_of(reference: Tensor, reward: Tensor, beta: float) -> float:
    """c with sum beta p_ref / (c - reward) = 1, by bisection above the largest reward, where the sum falls."""
    low, high = reward.max().item(), reward.max().item() + beta
    for _ in range(100):
        middle = (low + high) / 2
        if (beta * reference / (middle - reward)).sum() > 1:
            low = middle
        else:
            high = middle
    return high


def test_grpo_without_kl_finds_the_best_answer(tmp_path: Path) -> None:
    """Nothing holds it back: from a mean reward near 0 more than half of the way to the best token's."""
    bandit = Bandit.of(tiny_policy())
    train_grpo(
        bandit.policy,
        bandit.reference(tmp_path),
        FunctionScorer(bandit.score),
        bandit.engine(),
        bandit.questions,
        settings=replace(GRPO, kl_coef=0.0, advantages="scaled", group_size=32),
        optimizer_settings=OPTIMIZER,
        seed=0,
        checkpoint_seconds=1e9,
        run=MemoryRun(tmp_path),
    )
    best = bandit.reward.max()
    for reference, logprobs in bandit.learnt():
        start, reached = ((both.exp() * bandit.reward).sum() for both in (reference, logprobs))
        assert reached - start >= 0.5 * (best - start)
