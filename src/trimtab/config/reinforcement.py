"""The settings of the stages that learn from what the policy writes: PPO and GRPO."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trimtab.config.base import POLICIES, Share
from trimtab.config.endpoint import HOW_TO_ASK, EndpointSettings
from trimtab.config.training import TrainingStage

ImportanceCap = Annotated[
    float | None,
    Field(
        ge=1,
        description="Largest weight that corrects for the generator's log-probabilities not being the trainer's; "
        "null does not correct.",
    ),
]


class ScoredStage(TrainingStage):
    """A stage whose responses are scored: by a reward model, or by a model that grades them by a rubric."""

    references = {"model": POLICIES, "reward_model": ("reward_model",), "grader": POLICIES}
    files = ("data", "rubric")
    not_in_key = TrainingStage.not_in_key | HOW_TO_ASK

    reward_model: str | None = Field(
        None, description="What scores responses: an earlier stage, or the folder of a reward model."
    )
    grader: str | None = Field(
        None, description="A model that grades responses by the rubric, in place of a reward model (direct RLAIF)."
    )
    endpoint: EndpointSettings | None = Field(None, description="A grader behind a server, in place of grader.")
    rubric: str | None = Field(None, description="What the grader goes by, a text file.")

    @model_validator(mode="after")
    def _has_no_two_scorers(self) -> Self:
        if sum(scorer is not None for scorer in (self.reward_model, self.grader, self.endpoint)) > 1:
            raise ValueError("responses are scored by one of reward_model, grader and endpoint")
        if self.is_graded != (self.rubric is not None):
            raise ValueError("a grader goes by a rubric: give both, or neither")
        return self

    @property
    def is_graded(self) -> bool:
        """Whether a model that reads a rubric scores responses."""
        return self.grader is not None or self.endpoint is not None


class PPOStage(ScoredStage):
    """Reinforcement learning by PPO: write, be scored by the reward model, do more of what scored well."""

    kind: Literal["ppo"] = "ppo"
    learning_rate: float = Field(3e-5, gt=0, description="Size of the policy's steps at their largest.")
    value_learning_rate: float = Field(1e-4, gt=0, description="Size of the value model's steps at their largest.")
    value_warmup_steps: int = Field(0, ge=0, description="First steps in which the value model alone learns.")
    num_steps: int = Field(50, gt=0, description="How often responses are written and learnt from.")
    prompts_per_step: int = Field(16, gt=0, description="Prompts answered in a step.")
    group_size: int = Field(4, gt=0, description="Responses written to each prompt.")
    max_new_tokens: int = Field(128, gt=0, description="Longest response, in tokens.")
    temperature: float = Field(1.0, gt=0, description="How freely responses are drawn: 1 is as the model believes.")
    num_epochs: int = Field(4, gt=0, description="How often a step's responses are learnt from.")
    minibatch_size: int | None = Field(
        None, gt=0, description="Responses in one update; null takes all of the step's responses at once."
    )
    kl_coef: float = Field(0.05, ge=0, description="Price of each nat by which the policy drifts from its start.")
    kl_target: float | None = Field(
        None, gt=0, description="Drift (nats a response) that kl_coef is steered towards; null keeps kl_coef as it is."
    )
    kl_horizon: float = Field(10000, gt=0, description="Responses over which kl_coef may change by a good part.")
    gamma: Share = Field(1.0, description="Worth of a reward one token later; 1 for responses that end.")
    gae_lambda: Share = Field(0.95, description="How far advantages trust what came rather than the value model.")
    clip_eps: float = Field(0.2, gt=0, description="How far a token's probability ratio may move in a step.")
    value_clip_eps: float = Field(0.2, gt=0, description="How far a value may move in a step.")
    importance_cap: ImportanceCap = 2.0
    whiten_rewards: bool = Field(False, description="Divide a step's rewards by their deviation.")
    whiten_advantages: bool = Field(True, description="Give a step's advantages mean 0 and deviation 1.")
    missing_eos_penalty: float = Field(1.0, ge=0, description="Taken from the score of a response that does not end.")

    @model_validator(mode="after")
    def _has_a_scorer(self) -> PPOStage:
        if self.reward_model is None and self.grader is None:
            raise ValueError("say what scores responses: reward_model, or grader and rubric")
        return self

    @model_validator(mode="after")
    def _lets_kl_coef_stay_positive(self) -> PPOStage:
        responses = self.prompts_per_step * self.group_size
        if self.kl_target is not None and self.kl_horizon <= 0.2 * responses:
            raise ValueError(f"kl_horizon must be above 0.2 * prompts_per_step * group_size = {0.2 * responses:g}")
        if self.value_warmup_steps >= self.num_steps:
            raise ValueError("value_warmup_steps must be below num_steps, or the policy never learns")
        return self


class GRPOStage(ScoredStage):
    """Reinforcement learning by GRPO: write several answers, do more of those that score above their group's mean."""

    kind: Literal["grpo"] = "grpo"
    reward_model: str | None = Field(
        None,
        description="What scores responses: an earlier stage, or the folder of a reward model; null scores them by "
        "the share they pass of the checks in the data's column truth.",
    )
    learning_rate: float = Field(3e-5, gt=0, description="Size of the policy's steps at their largest.")
    num_steps: int = Field(50, gt=0, description="How often responses are written and learnt from.")
    prompts_per_step: int = Field(8, gt=0, description="Prompts answered in a step.")
    group_size: int = Field(8, gt=1, description="Responses written to each prompt, compared with one another.")
    max_new_tokens: int = Field(128, gt=0, description="Longest response, in tokens.")
    temperature: float = Field(1.0, gt=0, description="How freely responses are drawn: 1 is as the model believes.")
    num_epochs: int = Field(1, gt=0, description="How often a step's responses are learnt from.")
    minibatch_size: int | None = Field(
        None, gt=0, description="Responses in one update; null takes all of the step's responses at once."
    )
    kl_coef: float = Field(
        0.04, ge=0, description="Weight in the loss of the drift from the start (nats a token); 0 needs no reference."
    )
    clip_eps: float = Field(0.2, gt=0, description="How far a token's probability ratio may move in a step.")
    advantages: Literal["scaled", "centred", "leave_one_out"] = Field(
        "scaled",
        description="What a response is worth: its score less its group's mean, divided by their deviation or not, or "
        "less the mean of the group's other scores.",
    )
    aggregation: Literal["token", "response"] = Field(
        "response", description="What weighs the same in the loss: every token, or every response."
    )
    importance_cap: ImportanceCap = 2.0
    missing_eos_penalty: float = Field(0.0, ge=0, description="Taken from the score of a response that does not end.")

    @property
    def is_scored_by_checks(self) -> bool:
        """Whether nothing but the checks in the data scores responses."""
        return self.reward_model is None and not self.is_graded
