"""Recipes: which stages a run has and with what settings. A mistake is an error that names its place and a remedy."""

from trimtab.config.load import load_recipe
from trimtab.config.recipe import Recipe
from trimtab.config.stages import (
    KINDS,
    Adapter,
    DPOStage,
    EvaluationStage,
    GRPOStage,
    LabelStage,
    PPOStage,
    ReportStage,
    RewardModelStage,
    Runtime,
    SFTStage,
    StageConfig,
    TrainingStage,
)

__all__ = [
    "KINDS",
    "Adapter",
    "DPOStage",
    "EvaluationStage",
    "GRPOStage",
    "LabelStage",
    "PPOStage",
    "Recipe",
    "ReportStage",
    "RewardModelStage",
    "Runtime",
    "SFTStage",
    "StageConfig",
    "TrainingStage",
    "load_recipe",
]
