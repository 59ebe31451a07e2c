"""trimtab's side of every workload: the loops and the engine as the stages of the pipeline call them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.side import Job, Result, quiet, serve, timed

ADAPTER = {"rank": 16, "alpha": 32, "dropout": 0.0, "targets": "all-linear"}
NO_TOKEN = -1  # as the only stop token it lets every sequence reach its length


class Log:
    """A run that keeps the seconds of each step and nothing else."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.seconds: list[float] = []
        self.numbers: list[dict[str, float]] = []

    def log(self, metrics: Mapping[str, float]) -> None:
        """Keep a step's numbers."""
        self.seconds.append(metrics["time/step"])
        self.numbers.append(dict(metrics))

    def rewind_log(self, step: int) -> None:
        """Nothing is ever done twice."""

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        """Nobody looks."""

    def warn(self, message: str) -> None:
        """What spoils a result would be seen in `numbers`."""

    def stop_requested(self) -> bool:
        """Nobody asks."""
        return False


def work(job: Job) -> Result:
    """Do a job."""
    import torch

    torch.set_num_threads(job["threads"])
    if job["method"] == "generate":
        return generate(job)
    with tempfile.TemporaryDirectory() as folder:
        return train(job, Log(Path(folder)))


def generate(job: Job) -> Result:
    """Write from prompts."""
    from trimtab.models.hardware import PRECISIONS
    from trimtab.models.loading import load_policy

    dtype = PRECISIONS[job["precision"]]
    policy = load_policy(job["model"], weights_dtype=dtype, compute_dtype=dtype)
    engine = _engine(policy)
    prompts = [row["prompt_ids"] for row in job["rows"]]
    seconds: list[float] = []
    tokens = []
    for step, limits in enumerate(job["limits"]):
        with timed(seconds):
            groups = engine.generate(prompts, max_new_tokens=limits, seed=step)
        tokens.append(sum(len(sample.token_ids) for group in groups for sample in group))
    did = f"the engine, continuous batching, weights in {job['precision']}; sampling at temperature 1"
    return _result(job, seconds, tokens, did)


def train(job: Job, run: Log) -> Result:
    """A few steps of a training method."""
    import torch

    from trimtab.models.hardware import PRECISIONS
    from trimtab.models.loading import load_policy

    dtype = PRECISIONS[job["precision"]]
    weights = dtype if job["adapter"] else torch.float32
    policy = load_policy(job["model"], weights_dtype=weights, compute_dtype=dtype)
    if job["adapter"]:
        policy.adapter = "policy"
        policy.trunk.add_adapter("policy", **ADAPTER)
    extra = METHODS[job["method"]](job, policy, run)
    learnt = "all weights in float32"
    if job["adapter"]:
        learnt = f"a LoRA adapter of rank 16 on all linear layers, frozen weights in {job['precision']}"
    did = f"{learnt}, matrix products in {job['precision']}, fused AdamW{extra}"
    return _result(job, run.seconds, job["tokens"], did) | {"last": run.numbers[-1]}


def train_sft(job: Job, policy: Any, run: Log) -> str:
    """Supervised fine-tuning on the better responses."""
    from trimtab.models.rows import TokenRow
    from trimtab.training.sft import train_sft

    rows = [TokenRow(tuple(row["prompt_ids"]), (tuple(row["response_ids"][0]),)) for row in job["rows"]]
    train_sft(policy, placed(rows), **_common(job, run), **_passes(job))
    return ""


def train_reward_model(job: Job, policy: Any, run: Log) -> str:
    """A reward model on pairs."""
    from trimtab.models.scalar_model import ScalarModel
    from trimtab.training.reward_model import on_comparisons, train_reward_model

    model = ScalarModel.fresh(policy.trunk, adapter=policy.adapter, seed=0)
    train_reward_model(
        model,
        placed(pairs_of(job["rows"])),
        on_comparisons(model, centering=0.0),
        normalize=False,
        pad_id=policy.template.pad_id,
        **_common(job, run),
        **_passes(job),
    )
    return "; a prompt is computed once for both responses"


def train_dpo(job: Job, policy: Any, run: Log) -> str:
    """DPO on pairs, the reference computed in every step."""
    from trimtab.models.reference import reference_of
    from trimtab.training.dpo import train_dpo

    reference = reference_of(policy, run.state / "reference.safetensors")
    rows = placed(pairs_of(job["rows"]))
    train_dpo(policy, reference, rows, beta=0.1, **_common(job, run), **_passes(job))
    return "; a prompt is computed once for both responses; the reference is computed in every step"


def train_grpo(job: Job, policy: Any, run: Log) -> str:
    """GRPO against a function."""
    from trimtab.feedback.scorers import FunctionScorer
    from trimtab.models.reference import reference_of
    from trimtab.training.grpo import GRPOSettings, train_grpo

    train_grpo(
        policy,
        reference_of(policy, run.state / "reference.safetensors"),
        FunctionScorer(lambda prompt, completion: float(len(set(completion.token_ids)))),
        _engine(policy),
        _prompts(job),
        settings=GRPOSettings(
            **_rollouts(job),
            kl_coef=0.04,
            clip_eps=0.2,
            advantages="scaled",
            aggregation="token",
            importance_cap=None,
            missing_eos_penalty=0.0,
        ),
        **_common(job, run),
    )
    return "; the engine writes, then one update with KL to the reference; a prompt is computed once for its group"


def train_ppo(job: Job, policy: Any, run: Log) -> str:
    """PPO against a fresh reward model, with a value model in an adapter on its trunk."""
    from trimtab.feedback.scorers import RewardModelScorer
    from trimtab.models.loading import load_policy
    from trimtab.models.reference import reference_of
    from trimtab.models.scalar_model import ScalarModel
    from trimtab.training.ppo import PPOSettings, train_ppo

    dtype = policy.trunk.compute_dtype
    trunk = load_policy(job["model"], weights_dtype=dtype, compute_dtype=dtype).trunk
    reward_model = ScalarModel.fresh(trunk, adapter=None, seed=0)
    value_model = reward_model.copy("value", **ADAPTER)
    common = _common(job, run)
    train_ppo(
        policy,
        reference_of(policy, run.state / "reference.safetensors"),
        RewardModelScorer(reward_model, policy.template, max_tokens=common["optimizer_settings"].micro_batch_tokens),
        value_model,
        _engine(policy),
        _prompts(job),
        settings=PPOSettings(
            **_rollouts(job),
            value_learning_rate=1e-6,
            value_warmup_steps=0,
            kl_coef=0.04,
            kl_target=None,
            kl_horizon=1.0,
            gamma=1.0,
            gae_lambda=0.95,
            clip_eps=0.2,
            value_clip_eps=0.2,
            importance_cap=None,
            whiten_rewards=False,
            whiten_advantages=True,
            missing_eos_penalty=0.0,
        ),
        **common,
    )
    return (
        "; the engine writes, a reward model of the same size scores, reference and value model read, then one update "
        "of the policy and one of the value model (a LoRA adapter): more work than GRPO's"
    )


METHODS = {
    "sft": train_sft,
    "reward_model": train_reward_model,
    "dpo": train_dpo,
    "grpo": train_grpo,
    "ppo": train_ppo,
}


def _common(job: Job, run: Log) -> dict[str, Any]:
    from trimtab.training.step import OptimizerSettings

    name = "optimizer_settings" if job["method"] in ("grpo", "ppo") else "settings"
    settings = OptimizerSettings(learning_rate=1e-6)
    return {"seed": 0, "checkpoint_seconds": float("inf"), "run": run, name: settings}


def _passes(job: Job) -> dict[str, Any]:
    from trimtab.training.passes import Passes

    return {"passes": Passes(num_epochs=1, batch_size=job["batch"])}


def _rollouts(job: Job) -> dict[str, Any]:
    return {
        "num_steps": job["warmup"] + job["steps"],
        "prompts_per_step": job["batch"],
        "group_size": job["group_size"],
        "max_new_tokens": job["new_tokens"],
        "temperature": 1.0,
        "num_epochs": 1,
        "minibatch_size": None,
    }


def _engine(policy: Any) -> Any:
    from trimtab.generation.engine import Engine

    pad_id, dtype = policy.template.pad_id, policy.trunk.compute_dtype
    return Engine(policy.model, stop_ids={NO_TOKEN}, pad_id=pad_id, dtype=dtype)


def _prompts(job: Job) -> list[Any]:
    from trimtab.types import Message, Prompt

    return placed([Prompt(tuple(Message(**message) for message in row["prompt"])) for row in job["rows"]])


def pairs_of(rows: Sequence[Job]) -> list[Any]:
    """The loops' rows of a job's pairs, the better response first."""
    from trimtab.models.rows import TokenRow
    from trimtab.training.row_files import Pair, PreferenceRow

    return [
        PreferenceRow(
            TokenRow(tuple(row["prompt_ids"]), tuple(tuple(ids) for ids in row["response_ids"])),
            (Pair(0, 1, 1.0, 0.0),),
        )
        for row in rows
    ]


def placed(items: Sequence[Any]) -> list[Any]:
    """The items such that the loops' shuffle by seed 0 brings them into the order in which they are given."""
    from trimtab.training.batches import permutation

    placed = list(items)
    for item, place in zip(items, permutation(len(items), 0, 0), strict=True):
        placed[place] = item
    return placed


def _result(job: Job, seconds: Sequence[float], tokens: Sequence[int], did: str) -> Result:
    start = job["warmup"]
    return {"seconds": list(seconds[start:]), "tokens": list(tokens[start:]), "did": did}


if __name__ == "__main__":
    from trimtab.cli.libraries import settle_libraries

    quiet()
    settle_libraries()
    serve(work)
