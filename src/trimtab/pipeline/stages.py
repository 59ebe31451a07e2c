"""The table of stages: what each kind in a recipe does."""

from __future__ import annotations

from trimtab.pipeline.evaluation_stage import run_evaluation
from trimtab.pipeline.runner import StageFunction
from trimtab.pipeline.training_stages import run_ppo, run_reward_model, run_sft

STAGES: dict[str, StageFunction] = {
    "sft": run_sft,
    "reward_model": run_reward_model,
    "ppo": run_ppo,
    "evaluation": run_evaluation,
}
