"""The settings of the stages that measure and tell: the evaluation and the report."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from trimtab.config.base import POLICIES, AllowRemoteCode, Seed, Share, SkipBad, StageConfig, Strict


class Bars(Strict):
    """Promises on the share of held-out answers that pass every check."""

    group: str = Field("all", description="The prompts they speak of: a value of the column kind, or all.")
    before_below: Share = Field(description="Before training the share is below this.")
    after_above: Share = Field(description="After fine-tuning the share is above this.")
    largest_loss: Share = Field(0.05, description="What comes after fine-tuning loses less than this.")


class Promise(Strict):
    """A promise on what all of the training does: the last model against the base, on one group of prompts."""

    claim: str = Field(description="What is promised, as a sentence for the report.")
    group: str = Field("all", description="The prompts it speaks of: a value of the column kind, or all.")
    rises: bool = Field(False, description="The share of answers that pass every check rises, with its interval.")
    largest_loss: Share | None = Field(None, description="That share loses less than this, with its interval.")

    @model_validator(mode="after")
    def _promises_one_thing(self) -> Promise:
        if self.rises == (self.largest_loss is not None):
            raise ValueError("say either rises: true, or a largest_loss")
        return self


class EvaluationStage(StageConfig):
    """Measure models on held-out prompts and the reward model on held-out comparisons."""

    schema_version: ClassVar[int] = 2
    references = {"base": POLICIES, "models": POLICIES, "reward_model": ("reward_model",)}
    files = ("prompts", "comparisons", "attributes")

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
    attributes: str | None = Field(
        None, description="What annotators said of themselves, a CSV table: how the reward model does by group of them."
    )
    skip_bad: SkipBad = False
    columns: dict[str, str] = Field(
        {}, description="Columns of the prompts under other names: {prompt: question} reads question as the prompt."
    )
    max_new_tokens: int = Field(128, gt=0, description="Longest response, in tokens.")
    group_size: int = Field(4, ge=0, description="Sampled responses to each prompt beside the greedy one; 0 for none.")
    temperature: float = Field(1.0, gt=0, description="How freely the sampled responses are drawn.")
    samples_in_report: int = Field(6, ge=0, description="Prompts drawn at random whose answers the report shows.")
    bars: Bars | None = Field(None, description="What is promised before the run, for the report to judge.")
    promises: list[Promise] = Field([], description="Promises on the last model against the base, group by group.")
    seed: Seed = None
    allow_remote_code: AllowRemoteCode = False

    @model_validator(mode="after")
    def _ignores_nothing(self) -> EvaluationStage:
        if self.reward_model is None and self.comparisons is not None:
            raise ValueError("comparisons are to test a reward model, but reward_model is null")
        if self.comparisons is None and self.attributes is not None:
            raise ValueError("attributes are of the annotators of comparisons, but comparisons is null")
        if self.reward_model is not None and self.group_size == 0:
            raise ValueError("a reward model scores sampled responses, so group_size must be at least 1")
        return self


class TextEvaluationStage(StageConfig):
    """Measure models on text held out: how well they foresee it, and whether what they write is like it or a copy."""

    references = {"base": POLICIES, "models": POLICIES, "text": ("text_tuning",)}
    stage_only = frozenset({"text"})

    kind: Literal["text_evaluation"] = "text_evaluation"
    base: str = Field(description="The model before training: a stage, a folder, a hub id or a bundled name.")
    models: list[str] = Field(min_length=1, description="The models to compare with it, in the order of training.")
    text: str = Field(description="The stage that learnt from the text; what it held out is measured on.")
    passages: int = Field(100, gt=1, description="Passages of the held-out text that are measured, evenly spread.")
    max_new_tokens: int = Field(96, gt=0, description="Longest sample, in tokens.")
    temperature: float = Field(1.0, gt=0, description="How freely samples are drawn.")
    samples_in_report: int = Field(6, ge=0, description="Passages drawn at random whose samples the report shows.")
    seed: Seed = None
    allow_remote_code: AllowRemoteCode = False


class ReportStage(StageConfig):
    """One HTML page on the whole run, for readers who are not engineers."""

    references = {"evaluation": ("evaluation", "text_evaluation")}
    stage_only = frozenset({"evaluation"})

    kind: Literal["report"] = "report"
    evaluation: str = Field(description="The evaluation stage whose numbers are shown.")
    title: str = Field("", description="The report's title; the recipe's if empty.")
    labelled_by: str = Field("", description="A sentence on who made the comparisons.")
