"""Which function makes which kind of stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trimtab.pipeline.evaluation_stage import run_evaluation
from trimtab.pipeline.judge_stage import run_judge
from trimtab.pipeline.label_stage import run_label
from trimtab.pipeline.reinforcement_stages import run_grpo, run_ppo
from trimtab.pipeline.report_stage import run_report
from trimtab.pipeline.revise_stage import run_revise
from trimtab.pipeline.reward_model_stage import run_reward_model
from trimtab.pipeline.self_instruct_stage import run_self_instruct
from trimtab.pipeline.text_stages import run_text_evaluation, run_text_tuning
from trimtab.pipeline.training_stages import run_dpo, run_sft

STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "sft": run_sft,
    "text_tuning": run_text_tuning,
    "label": run_label,
    "judge": run_judge,
    "revise": run_revise,
    "self_instruct": run_self_instruct,
    "reward_model": run_reward_model,
    "dpo": run_dpo,
    "ppo": run_ppo,
    "grpo": run_grpo,
    "evaluation": run_evaluation,
    "text_evaluation": run_text_evaluation,
    "report": run_report,
}
