"""Learning: PPO finds an optimum that is known in closed form, with all weights and with an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.world import MemoryRun, prompts, tiny_policy

from trimtab.feedback.scorers import FunctionScorer
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.models.reference import reference_of
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.ppo import PPOSettings, train_ppo
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
    whiten_rewards=False,
    whiten_advantages=True,
    missing_eos_penalty=0.0,
)
OPTIMIZER = OptimizerSettings(learning_rate=3e-3, schedule="linear", warmup_ratio=0.0)


def next_token_logprobs(policy: Policy, prompt: Prompt) -> torch.Tensor:
    """The whole distribution of the first response token, by the model's own forward."""
    ids = torch.tensor([policy.template.prompt_ids(prompt)])
    with torch.no_grad(), policy.trunk.using(policy.adapter):
        return policy.model(input_ids=ids).logits[0, -1].float().log_softmax(-1)


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_ppo_reaches_the_optimum_of_a_bandit(tmp_path: Path, adapter: bool) -> None:
    """One token. The best policy under a KL penalty is the reference times exp(reward / beta).

    What it earns, E[reward] - beta KL, is beta log E_ref[exp(reward / beta)] (Korbak et al. 2022, section 3). PPO must
    close at least nine tenths of the distance between the reference's earnings and that. The reward is linear in the
    token's embedding, so the best policy is one that a shift of the hidden state reaches: an adapter can be it.
    """
    torch.set_num_threads(1)
    policy = tiny_policy(adapter=adapter)
    if adapter:
        value_model = ScalarModel.fresh(policy.trunk, adapter="policy", seed=0).copy("value")
    else:
        value_model = ScalarModel.fresh(tiny_policy(seed=1).trunk, adapter=None, seed=0)
    questions = prompts(4)
    before = [next_token_logprobs(policy, prompt) for prompt in questions]
    embeddings = policy.trunk.causal_lm.get_input_embeddings().weight.detach().clone()
    direction = torch.randn(embeddings.shape[1], generator=torch.Generator().manual_seed(0))
    reward = embeddings @ direction
    reward *= 0.25 / reward.std()

    def score(prompt: Prompt, completion: Completion) -> float:
        return reward[completion.token_ids[0]].item()

    template = policy.template
    train_ppo(
        policy,
        reference_of(policy, tmp_path / "reference.safetensors"),
        FunctionScorer(score),
        value_model,
        Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id),
        questions,
        settings=PPO,
        optimizer_settings=OPTIMIZER,
        seed=0,
        checkpoint_seconds=1e9,
        run=MemoryRun(tmp_path),
    )
    for prompt, reference in zip(questions, before, strict=True):
        logprobs = next_token_logprobs(policy, prompt)
        probabilities = logprobs.exp()
        earned = (probabilities * (reward - BETA * (logprobs - reference))).sum()
        start = (reference.exp() * reward).sum()
        best = BETA * (reference + reward / BETA).logsumexp(-1)
        assert earned <= best + 1e-5
        assert earned - start >= 0.9 * (best - start)
