"""The PPO loop: what it makes of a rollout, its first gradients by hand, who learns when, and resume."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tests.models.plain import each_response, plain_logprobs, plain_states, stir
from tests.reference import ppo as oracle
from tests.training.loops import (
    ADAPTER,
    LARGE,
    NEVER,
    OPTIMIZER,
    SMALL,
    Gradients,
    Loop,
    assert_same_gradients,
    check_resume,
    gradients_of,
    importance_by_hand,
    strange_sampler,
    tensors_of,
    with_dropout,
)
from tests.training.world import MemoryRun, prompts, tiny_policy
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from trimtab.data.chat import ChatTemplate
from trimtab.errors import NumericsError
from trimtab.feedback.scorers import FunctionScorer, RewardModelScorer
from trimtab.generation.engine import Engine
from trimtab.models.loading import load_policy, load_reward_model
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference, reference_of
from trimtab.models.rows import TokenRow
from trimtab.models.scalar_model import ScalarModel
from trimtab.models.trunk import Trunk
from trimtab.training import ppo
from trimtab.training.experience import Experience, estimate, summarise
from trimtab.training.minibatches import minibatches
from trimtab.training.ppo import PPOSettings, train_ppo
from trimtab.training.rollout import Rollout, Scorer, collect
from trimtab.types import Completion, Prompt

PROMPTS = prompts(5)
SETTINGS = PPOSettings(
    num_steps=4,
    prompts_per_step=3,
    group_size=2,
    max_new_tokens=6,
    temperature=0.8,
    num_epochs=2,
    minibatch_size=4,
    value_learning_rate=5e-3,
    value_warmup_steps=1,
    kl_coef=0.3,
    kl_target=0.05,
    kl_horizon=20.0,
    gamma=0.95,
    gae_lambda=0.9,
    clip_eps=0.2,
    value_clip_eps=0.2,
    importance_cap=2.0,
    whiten_rewards=True,
    whiten_advantages=True,
    missing_eos_penalty=0.5,
)
ONE_UPDATE = replace(SETTINGS, num_steps=1, num_epochs=1, minibatch_size=None, value_warmup_steps=0)


@dataclass
class World:
    """All that takes part, ready to learn."""

    policy: Policy
    scorer: Scorer
    value_model: ScalarModel

    def train(self, run: MemoryRun, settings: PPOSettings = SETTINGS, micro_batch_tokens: int = LARGE) -> None:
        template = self.policy.template
        train_ppo(
            self.policy,
            reference_of(self.policy, run.state / "reference.safetensors"),
            self.scorer,
            self.value_model,
            Engine(self.policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id),
            PROMPTS,
            settings=settings,
            optimizer_settings=replace(OPTIMIZER, micro_batch_tokens=micro_batch_tokens),
            seed=0,
            checkpoint_seconds=NEVER,
            run=run,
        )

    def trained(self) -> dict[str, Tensor]:
        return tensors_of(self.policy.trainable_parameters(), self.value_model.trainable_parameters())


def make_world(adapter: bool, dropout: bool = False) -> World:
    """With adapters, all models on one trunk; without, a trunk for the policy and one for reward and value."""
    policy = tiny_policy()
    with torch.no_grad():  # turns end now and then
        policy.trunk.causal_lm.get_input_embeddings().weight[policy.template.end_of_turn_id] *= 4
    trunk = tiny_policy(seed=1).trunk
    if adapter:
        trunk, policy.adapter = policy.trunk, "policy"
        if dropout:
            with_dropout(trunk, "policy")
        else:
            torch.manual_seed(0)
            trunk.add_adapter("policy", **ADAPTER)
        trunk.add_adapter("reward", **ADAPTER)
        stir(trunk, "reward")
    reward_model = ScalarModel.fresh(trunk, adapter="reward" if adapter else None, seed=0)
    scorer = RewardModelScorer(reward_model, policy.template, max_tokens=SMALL)
    torch.manual_seed(0)
    value_model = reward_model.copy("value", **ADAPTER)
    return World(policy, scorer, value_model)


# From rollout to experience ------------------------------------------------------------------------------------------


def roll_out(world: World, folder: Path) -> tuple[Rollout, Reference]:
    """A rollout of a policy that has moved away from its reference, and that reference."""
    policy, template = world.policy, world.policy.template
    reference = reference_of(policy, folder / "reference.safetensors")
    with torch.no_grad():
        for parameter in policy.trainable_parameters().values():
            parameter += 0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    rollout = collect(
        policy,
        world.scorer,
        Engine(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id),
        PROMPTS,
        group_size=2,
        max_new_tokens=6,
        temperature=0.8,
        seed=1,
    )
    return rollout, reference


def whitened(numbers: list[list[float]], *, shift_mean: bool) -> list[list[float]]:
    """All numbers together to variance 1 (and mean 0)."""
    flat = [number for several in numbers for number in several]
    mean = sum(flat) / len(flat)
    std = math.sqrt(sum((number - mean) ** 2 for number in flat) / len(flat) + 1e-8)
    return [[(number - mean) / std + (0 if shift_mean else mean) for number in several] for several in numbers]


@pytest.mark.parametrize(("whiten_rewards", "whiten_advantages"), [(False, False), (True, False), (False, True)])
def test_rewards_and_advantages_by_the_textbook(tmp_path: Path, whiten_rewards: bool, whiten_advantages: bool) -> None:
    """One response after another, token by token: penalty, score at the end, temporal differences."""
    check_estimate(tmp_path, whiten_rewards, whiten_advantages)


def check_estimate(folder: Path, whiten_rewards: bool, whiten_advantages: bool) -> None:
    world = make_world(adapter=False)
    rollout, reference = roll_out(world, folder)
    assert set(rollout.finished.tolist()) == {True, False}
    settings = replace(SETTINGS, whiten_rewards=whiten_rewards, whiten_advantages=whiten_advantages)
    experience = estimate(
        rollout,
        world.policy,
        reference,
        world.value_model,
        settings.shaping,
        kl_coef=0.3,
        temperature=0.8,
        max_tokens=SMALL,
        fit_values=False,
    )

    lengths = rollout.mask.sum(1).tolist()
    logprobs, ref_logprobs = (
        [row[:n] for row, n in zip(tensor.tolist(), lengths, strict=True)]
        for tensor in (experience.logprobs, experience.ref_logprobs)
    )
    assert (experience.logprobs - experience.ref_logprobs).abs().max() > 0.05
    values = [row[:n] for row, n in zip(plain_values(world, rollout.rows).tolist(), lengths, strict=True)]
    rewards = [
        oracle.kl_shaped_rewards(score if finished else score - 0.5, ours, theirs, 0.3)
        for score, finished, ours, theirs in zip(
            rollout.scores.tolist(), rollout.finished.tolist(), logprobs, ref_logprobs, strict=True
        )
    ]
    if whiten_rewards:
        rewards = whitened(rewards, shift_mean=False)
    advantages = [oracle.advantages(r, v, 0.95, 0.9) for r, v in zip(rewards, values, strict=True)]
    returns = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(advantages, values, strict=True)]
    if whiten_advantages:
        advantages = whitened(advantages, shift_mean=True)
    for actual, expected in (
        (experience.values, values),
        (experience.rewards, rewards),
        (experience.advantages, advantages),
        (experience.returns, returns),
    ):
        padded = nn.utils.rnn.pad_sequence([torch.tensor(numbers) for numbers in expected], batch_first=True)
        torch.testing.assert_close(actual, padded, atol=1e-3, rtol=0)


def plain_values(world: World, rows: Sequence[TokenRow]) -> Tensor:
    """The value of the state before each token, by the value model's own forward."""
    trunk, head = world.value_model.trunk, world.value_model.head

    def values(prompt: Sequence[int], response: Sequence[int]) -> Tensor:
        states = plain_states(trunk.causal_lm, [*prompt, *response])[len(prompt) - 1 : -1]
        return states @ head.weight[0].double() + head.bias.double()

    with trunk.using(world.value_model.adapter):
        return each_response(rows, values)


def made_up_experience() -> Experience:
    """Two prompts with two responses each, of 1, 3, 2 and 2 tokens; whatever is padding is 99."""
    mask = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 0]]).bool()

    def tokens(*rows: list[float]) -> Tensor:
        return torch.tensor([[*row, *[99.0] * (3 - len(row))] for row in rows])

    rollout = Rollout(
        rows=[TokenRow((5,), ((6,), (6, 7, 8))), TokenRow((9,), ((6, 7), (7, 8)))],
        completions=[],
        mask=mask,
        scores=torch.tensor([1.0, 3.0, 2.0, 2.0]),
        finished=torch.tensor([True, False, True, True]),
        sampler_logprobs=tokens([-1.1], [-2.0, -1.0, -1.3], [-1.0, -1.0], [-3.0, -1.4]),
    )
    return Experience(
        rollout,
        logprobs=tokens([-1.0], [-2.0, -1.0, -1.0], [-1.0, -1.0], [-3.0, -1.0]),
        ref_logprobs=tokens([-1.5], [-2.0, -2.0, -1.5], [-1.0, -1.0], [-2.0, -1.0]),
        entropies=tokens([1.0], [2.0, 3.0, 4.0], [1.0, 1.0], [2.0, 2.0]),
        values=tokens([1.0], [1.0, 3.0, 5.0], [2.0, 4.0], [6.0, 6.0]),
        advantages=torch.zeros(4, 3),
        returns=tokens([2.0], [2.0, 4.0, 6.0], [2.0, 4.0], [6.0, 6.0]),
        rewards=tokens([1.0], [0.5, 0.5, 2.0], [-1.0, 2.0], [1.0, 1.0]),
    )


def test_what_is_logged_of_a_rollout_by_hand() -> None:
    """KL of the responses: 0.5, 0 + 1 + 0.5, 0, -1. Squared errors 1, 1, 1, 1, 0, 0, 0, 0 have variance 1/4; returns
    2, 2, 4, 6, 2, 4, 6, 6 have mean 4 and variance 3."""
    numbers = summarise(made_up_experience(), kl_coef=0.3)
    assert numbers == pytest.approx(
        {
            "score/mean": 2.0,
            "score/std": math.sqrt(0.5),  # 1, 3, 2, 2 around 2
            "reward/mean": 7 / 4,  # sums 1, 3, 1, 2
            "kl/ref": 1.0 / 4,
            "kl/coef": 0.3,
            "policy/entropy": 16 / 8,
            "value/explained_variance": 1 - 0.25 / 3,
            "response/length": 8 / 4,
            "response/eos_fraction": 3 / 4,
            "group/zero_variance_fraction": 1 / 2,
            "sampler/logprob_gap": 0.8 / 8,
        },
        abs=1e-5,
    )


@pytest.mark.parametrize(("size", "expected"), [(None, [5]), (2, [1] * 5), (4, [2, 2, 1]), (1, [1] * 5), (7, [3, 2])])
def test_minibatches_keep_groups_together(size: int | None, expected: list[int]) -> None:
    """Five prompts with two responses each. Every prompt comes once, in an order the seed decides."""
    rows = [TokenRow((5,), ((6,), (7,)))] * 5
    batches = minibatches(rows, size, seed=1)
    assert [len(batch) for batch in batches] == expected
    assert sorted(index for batch in batches for index in batch) == list(range(5))
    assert batches == minibatches(rows, size, seed=1)
    orders = {tuple(index for batch in minibatches(rows, size, seed) for index in batch) for seed in range(9)}
    assert len(orders) > 1


# The update ----------------------------------------------------------------------------------------------------------


def first_update(
    world: World, folder: Path, micro_batch_tokens: int, settings: PPOSettings = ONE_UPDATE
) -> tuple[Experience, Gradients, Gradients]:
    """What the first update is made from, and its two gradients."""
    kept: list[Experience] = []
    estimated = ppo.estimate

    def keeping(*arguments: object, **settings: object) -> Experience:
        kept.append(estimated(*arguments, **settings))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch, gradients_of() as caught:
        patch.setattr(ppo, "estimate", keeping)
        world.train(MemoryRun(folder), settings, micro_batch_tokens)
    (experience,), (value_gradients, policy_gradients) = kept, caught
    return experience, policy_gradients, value_gradients


@pytest.mark.parametrize("cap", [None, 1.3])
@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_the_first_gradients_are_those_of_plain_forwards(tmp_path: Path, adapter: bool, cap: float | None) -> None:
    """Where nothing has moved the policy's is -A grad log p, at the sampling temperature, and the value model's
    (V - return) grad V, both over all tokens of the batch. With a cap a token's part of the policy's is multiplied by
    min(p / p_sampler, cap), here with a sampler that says it drew from something else."""
    check_first_gradients(tmp_path, adapter, cap)


def check_first_gradients(folder: Path, adapter: bool, cap: float | None = None) -> None:
    settings = replace(ONE_UPDATE, importance_cap=cap)
    with strange_sampler(ppo):
        experience, policy_gradients, value_gradients = first_update(make_world(adapter), folder, SMALL, settings)
    world, rows, mask = make_world(adapter), experience.rollout.rows, experience.rollout.mask
    assert mask.sum(1).unique().numel() > 1

    with world.policy.trunk.using(world.policy.adapter):
        plain = each_response(rows, lambda *pair: plain_logprobs(world.policy.model, *pair, 0.8))
    weights = importance_by_hand(plain, experience.rollout, cap)
    loss = -(weights * experience.advantages * plain).sum() / mask.sum()
    assert_same_gradients([policy_gradients], [gradients(loss, world.policy.trainable_parameters())])

    fit_by_hand(world, experience)
    loss = ((plain_values(world, rows) - experience.returns) ** 2).sum() / 2 / mask.sum()
    assert_same_gradients([value_gradients], [gradients(loss, world.value_model.trainable_parameters())])


def fit_by_hand(world: World, experience: Experience) -> None:
    """What the first step does to the value head: least squares, by a solver, of discounted returns on its values."""
    mask, gamma = experience.rollout.mask, SETTINGS.gamma
    returns = [
        [sum(gamma**k * reward for k, reward in enumerate(row[t:n])) for t in range(n)]
        for row, n in zip(experience.rewards.tolist(), mask.sum(1).tolist(), strict=True)
    ]
    with torch.no_grad():
        values = plain_values(world, experience.rollout.rows)[mask].double()
        targets = torch.tensor([value for row in returns for value in row], dtype=torch.float64)
        gain, bias = torch.linalg.lstsq(torch.stack([values, torch.ones_like(values)], 1), targets).solution.tolist()
        world.value_model.head.weight *= gain
        world.value_model.head.bias.mul_(gain).add_(bias)


def gradients(loss: Tensor, parameters: dict[str, nn.Parameter]) -> Gradients:
    return dict(zip(parameters, torch.autograd.grad(loss, parameters.values()), strict=True))


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_cutting_a_batch_changes_no_gradient(tmp_path: Path, adapter: bool) -> None:
    (_, *cut), (_, *whole) = (
        first_update(make_world(adapter), tmp_path / str(tokens), tokens) for tokens in (SMALL, LARGE)
    )
    assert_same_gradients(cut, whole)


def test_the_first_step_finds_policy_reference_and_engine_agreed(tmp_path: Path) -> None:
    """Nothing has moved: no KL, ratios of 1, nothing clipped, and an engine that samples from the same model. An
    adapter's dropout would tear policy and rollout apart once the adapter is no longer the identity."""
    world, first, second = make_world(adapter=True, dropout=True), MemoryRun(tmp_path / "1"), MemoryRun(tmp_path / "2")
    for run in (first, second):
        world.train(run, ONE_UPDATE)
        (line,) = run.logged
        assert line["policy/ratio"] == pytest.approx(1, abs=1e-4)
        assert line["policy/approx_kl"] == pytest.approx(0, abs=1e-5)
        assert line["policy/clip_fraction"] == 0
        assert line["sampler/logprob_gap"] < 1e-4
        assert line["optim/grad_norm"] > 0
        assert line["optim/value_grad_norm"] > 0
    assert first.logged[0]["kl/ref"] == pytest.approx(0, abs=1e-4)
    assert second.logged[0]["kl/ref"] != pytest.approx(0, abs=1e-4)


# Steps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_the_policy_waits_until_the_value_model_is_warm(tmp_path: Path, adapter: bool) -> None:
    settings = replace(SETTINGS, num_steps=2, value_warmup_steps=2)
    world, run = make_world(adapter), MemoryRun(tmp_path / "waiting")
    policy, value = (tensors_of(m.trainable_parameters()) for m in (world.policy, world.value_model))
    world.train(run, settings)
    assert unchanged(policy, world.policy)
    assert not unchanged(value, world.value_model)
    assert all("policy/loss" not in line and line["optim/grad_norm"] == 0 for line in run.logged)

    world, run = make_world(adapter), MemoryRun(tmp_path / "learning")
    world.train(run, replace(settings, num_steps=3))
    assert not unchanged(policy, world.policy)
    assert ["policy/loss" in line for line in run.logged] == [False, False, True]


def test_the_policys_rate_spans_the_steps_in_which_it_learns(tmp_path: Path) -> None:
    """One step of waiting, then linear decay over the three that are left."""
    run = MemoryRun(tmp_path)
    make_world(adapter=False).train(run)
    rates = [line["optim/learning_rate"] for line in run.logged]
    assert rates == pytest.approx([0, 1e-2, 1e-2 * 2 / 3, 1e-2 / 3])


def unchanged(before: dict[str, Tensor], model: Policy | ScalarModel) -> bool:
    after = tensors_of(model.trainable_parameters())
    return all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_the_kl_coefficient_follows_the_kl(tmp_path: Path) -> None:
    """Six responses a step: x (1 + clip(KL / target - 1, +-0.2) 6 / 20), from the KL of the step before."""
    run = MemoryRun(tmp_path)
    make_world(adapter=False).train(run)
    expected = [0.3]
    for line in run.logged[:-1]:
        error = min(max(line["kl/ref"] / 0.05 - 1, -0.2), 0.2)
        expected.append(expected[-1] * (1 + error * 6 / 20))
    assert [line["kl/coef"] for line in run.logged] == pytest.approx(expected)
    assert len(set(expected)) == 4

    fixed = MemoryRun(tmp_path / "fixed")
    make_world(adapter=False).train(fixed, replace(SETTINGS, kl_target=None))
    assert [line["kl/coef"] for line in fixed.logged] == [0.3] * 4


def test_a_score_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    world, run = make_world(adapter=False), MemoryRun(tmp_path)
    world.scorer = FunctionScorer(lambda prompt, completion: math.nan if prompt == PROMPTS[2] else 0.0)
    with pytest.raises(NumericsError, match=r"ppo step \d: a score is not finite on rows \[\d\]"):
        world.train(run, replace(SETTINGS, whiten_rewards=False, whiten_advantages=False), micro_batch_tokens=1)
    (bad,) = json.loads((tmp_path / "bad_batch.json").read_text())
    assert bad["prompt_ids"] == world.policy.template.prompt_ids(PROMPTS[2])


# One trunk -----------------------------------------------------------------------------------------------------------


def test_policy_reward_model_and_value_model_share_one_trunk(tmp_path: Path) -> None:
    """As a stage loads them: a reward model trained on the same base, put onto the policy's trunk. It scores as it does
    alone, it and the base weights stay what they were, bit for bit, and the other two learn."""
    tiny_policy().save(tmp_path / "base")
    alone = Trunk(AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval())
    alone.add_adapter("any", **ADAPTER)
    stir(alone, "any")
    saved = ScalarModel.fresh(alone, adapter="any", seed=0)
    saved.save(tmp_path / "reward")

    policy = load_policy(str(tmp_path / "base"))
    policy.adapter = "policy"
    policy.trunk.add_adapter("policy", **ADAPTER)
    reward_model = load_reward_model(tmp_path / "reward", onto=policy.trunk)
    value_model = reward_model.copy("value", **ADAPTER)
    assert reward_model.trunk is value_model.trunk is policy.trunk
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}

    plain_scorer = PlainScorer(alone.model, saved.head, policy.template)
    spy = Spy(RewardModelScorer(reward_model, policy.template, max_tokens=SMALL), plain_scorer)
    run = MemoryRun(tmp_path / "state")
    World(policy, spy, value_model).train(run)
    assert spy.calls == 4
    assert run.logged[0]["kl/ref"] == pytest.approx(0, abs=1e-4)
    assert run.logged[-1]["kl/ref"] != pytest.approx(0, abs=1e-4)
    for name, parameter in policy.model.named_parameters():
        learned = ".policy." in name or ".value." in name
        assert torch.equal(parameter, before[name]) != learned, name


class PlainScorer:
    """The same reward model through PEFT alone, one response at a time."""

    def __init__(self, model: PeftModel, head: nn.Linear, template: ChatTemplate) -> None:
        self.model, self.head, self.template = model, head, template

    @torch.no_grad()
    def __call__(self, prompts: object, completions: object, rows: Sequence[TokenRow]) -> Tensor:
        ended = [(row.prompt_ids, self._ended(response)) for row in rows for response in row.responses]
        states = [plain_states(self.model.get_base_model(), [*prompt, *text])[-1] for prompt, text in ended]
        return torch.stack(states) @ self.head.weight[0].double()

    def _ended(self, response: tuple[int, ...]) -> list[int]:
        is_cut = response[-1] not in self.template.stop_ids
        return [*response, *[self.template.end_of_turn_id] * is_cut]


class Spy:
    """A scorer that must agree with another at every call."""

    def __init__(self, scorer: Scorer, other: Scorer) -> None:
        self.scorer, self.other, self.calls = scorer, other, 0

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], rows: Sequence[TokenRow]
    ) -> Tensor:
        self.calls += 1
        scores = self.scorer(prompts, completions, rows)
        torch.testing.assert_close(scores.double(), self.other(prompts, completions, rows), atol=1e-4, rtol=0)
        return scores


# Resume --------------------------------------------------------------------------------------------------------------


def full(run: MemoryRun) -> dict[str, Tensor]:
    world = make_world(adapter=False)
    world.train(run)
    return world.trained()


def lora(run: MemoryRun) -> dict[str, Tensor]:
    world = make_world(adapter=True, dropout=True)
    world.train(run)
    return world.trained()


@pytest.mark.parametrize("loop", [full, lora])
def test_a_stopped_run_ends_as_an_uninterrupted_one(loop: Loop, tmp_path: Path) -> None:
    """Inside the warm-up and after it, with a KL coefficient that has moved."""
    check_resume(loop, tmp_path, stops=range(1, SETTINGS.num_steps))
