"""Recipes: which stages a run has and with what settings. A mistake is an error that names its place and a remedy."""

from trimtab.config.base import Runtime, StageConfig
from trimtab.config.evaluation import EvaluationStage, ReportStage, TextEvaluationStage
from trimtab.config.feedback import JudgeStage, LabelStage, ReviseStage, SelfInstructStage
from trimtab.config.load import load_recipe
from trimtab.config.recipe import Recipe
from trimtab.config.reinforcement import GRPOStage, PPOStage
from trimtab.config.stages import KINDS
from trimtab.config.training import Adapter, DPOStage, RewardModelStage, SFTStage, TextTuningStage, TrainingStage

__all__ = [
    "KINDS",
    "Adapter",
    "DPOStage",
    "EvaluationStage",
    "GRPOStage",
    "JudgeStage",
    "LabelStage",
    "PPOStage",
    "Recipe",
    "ReportStage",
    "ReviseStage",
    "RewardModelStage",
    "Runtime",
    "SFTStage",
    "SelfInstructStage",
    "StageConfig",
    "TextEvaluationStage",
    "TextTuningStage",
    "TrainingStage",
    "load_recipe",
]
