"""The settings of the stages that measure and tell: the evaluation and the report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trimtab.config.base import POLICIES, AllowRemoteCode, Seed, Share, SkipBad, StageConfig, Strict


class Bars(Strict):
    """Promises on the share of held-out answers that pass every check."""

    group: str = Field("all", description="The prompts they speak of: a value of the column kind, or all.")
    before_below: Share = Field(description="Before training the share is below this.")
    after_above: Share = Field(description="After fine-tuning the share is above this.")
    largest_loss: Share = Field(0.05, description="What comes after fine-tuning loses less than this.")


class EvaluationStage(StageConfig):
    """Measure models on held-out prompts and the reward model on held-out comparisons."""

    references = {"base": POLICIES, "models": POLICIES, "reward_model": ("reward_model",)}
    files = ("prompts", "comparisons")

    kind: Literal["evaluation"] = "evaluation"
    base: str = Field(description="The model before training: a stage, a folder, a hub id or a bundled name.")
    models: list[str] = Field(min_length=1, description="The models to compare with it, in the order of training.")
    reward_model: str | None = Field(None, description="What scores responses: a stage or a folder; null for none.")
    prompts: str = Field(description="Held-out prompts, with a truth to check answers against where there is one.")
    base_both_ways: bool = Field(
        False,
        description="Ask a base without a chat template a second time, with the template of the first of the models.",
    )
    show: list[str] = Field([], description="Questions that are always asked and shown in the report, but not counted.")
    comparisons: str | None = Field(None, description="Held-out comparisons to test the reward model on.")
    skip_bad: SkipBad = False
    columns: dict[str, str] = Field(
        {}, description="Columns of the prompts under other names: {prompt: question} reads question as the prompt."
    )
    max_new_tokens: int = Field(128, gt=0, description="Longest response, in tokens.")
    group_size: int = Field(4, ge=0, description="Sampled responses to each prompt beside the greedy one; 0 for none.")
    temperature: float = Field(1.0, gt=0, description="How freely the sampled responses are drawn.")
    samples_in_report: int = Field(6, ge=0, description="Prompts drawn at random whose answers the report shows.")
    bars: Bars | None = Field(None, description="What is promised before the run, for the report to judge.")
    seed: Seed = None
    allow_remote_code: AllowRemoteCode = False

    @model_validator(mode="after")
    def _ignores_nothing(self) -> EvaluationStage:
        if self.reward_model is None and self.comparisons is not None:
            raise ValueError("comparisons are to test a reward model, but reward_model is null")
        if self.reward_model is not None and self.group_size == 0:
            raise ValueError("a reward model scores sampled responses, so group_size must be at least 1")
        return self


class ReportStage(StageConfig):
    """One HTML page on the whole run, for readers who are not engineers."""

    references = {"evaluation": ("evaluation",)}
    stage_only = frozenset({"evaluation"})

    kind: Literal["report"] = "report"
    evaluation: str = Field(description="The evaluation stage whose numbers are shown.")
    title: str = Field("", description="The report's title; the recipe's if empty.")
    labelled_by: str = Field("", description="A sentence on who made the comparisons.")
