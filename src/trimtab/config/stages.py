"""All kinds of stages, and the class that checks each one's settings."""

from __future__ import annotations

from trimtab.config.base import StageConfig
from trimtab.config.evaluation import EvaluationStage, ReportStage, TextEvaluationStage
from trimtab.config.feedback import JudgeStage, LabelStage, ReviseStage, SelfInstructStage
from trimtab.config.reinforcement import GRPOStage, PPOStage
from trimtab.config.training import DPOStage, RewardModelStage, SFTStage, TextTuningStage

KINDS: dict[str, type[StageConfig]] = {
    "sft": SFTStage,
    "text_tuning": TextTuningStage,
    "label": LabelStage,
    "judge": JudgeStage,
    "revise": ReviseStage,
    "self_instruct": SelfInstructStage,
    "reward_model": RewardModelStage,
    "dpo": DPOStage,
    "ppo": PPOStage,
    "grpo": GRPOStage,
    "evaluation": EvaluationStage,
    "text_evaluation": TextEvaluationStage,
    "report": ReportStage,
}
