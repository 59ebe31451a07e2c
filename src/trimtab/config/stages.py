"""The settings of each kind of stage, with their defaults, limits and meaning. Unknown settings are refused."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

POLICIES = ("sft", "dpo", "ppo", "grpo")
"""Kinds of stages whose artifact is a model that writes."""
LABELLED = ("label",)
"""Kinds of stages whose artifact is data that people labelled."""

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
SkipBad = Annotated[bool, Field(description="Leave bad rows of the data out instead of stopping.")]
Seed = Annotated[int | None, Field(ge=0, description="Fixes all randomness of this stage; the recipe's seed if null.")]
AllowRemoteCode = Annotated[
    bool, Field(description="Let a model run Python code that it brings along. Read that code first.")
]


class Strict(BaseModel):
    """Settings that are checked closely: no unknown names, no silent conversions, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Runtime(Strict):
    """How to compute. Changing it does not make any stage run again."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:[0-9]+)?)$",
        description="Where to compute: auto, cpu, cuda, cuda:1, mps.",
    )
    threads: int | None = Field(
        None, gt=0, description="CPU threads to use; null takes as many as are measured to be fastest."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Number type of matrix products; auto takes bf16 where it is measured to be clearly faster."
    )


class Adapter(Strict):
    """A LoRA adapter: small matrices that learn beside frozen weights."""

    rank: int = Field(16, gt=0, description="Width of the adapter's matrices: more can learn more and costs more.")
    alpha: int = Field(32, gt=0, description="Scale of the adapter's output, divided by the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs dropped while learning.")
    targets: str | list[str] = Field(
        "all-linear", description="Which layers get an adapter: all-linear, or names of layers."
    )


class StageConfig(Strict):
    """What all kinds of stages have. The class variables tell the pipeline what a setting refers to."""

    schema_version: ClassVar[int] = 1
    """Part of every key: raise it when a stage of this kind comes to mean something else."""
    references: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Setting -> the kinds of stages it may name. It may hold one name or a list."""
    stage_only: ClassVar[frozenset[str]] = frozenset()
    """References that must be a stage; the others may be a model's folder, hub id or bundled name."""
    files: ClassVar[tuple[str, ...]] = ()
    """Settings that hold the path of data, relative to the recipe."""
    not_in_key: ClassVar[frozenset[str]] = frozenset({"checkpoint_seconds", "allow_remote_code"})
    """Settings that cannot change what comes out."""

    kind: str


class TrainingStage(StageConfig):
    """What the stages that train a model have in common."""

    references = {"model": POLICIES}
    files = ("data",)

    model: str = Field(description="The model to start from: an earlier stage, a folder, a hub id or a bundled name.")
    data: str = Field(description="The data to learn from: a file, a folder, or hf:owner/name:split.")
    seed: Seed = None
    adapter: Adapter | None = Field(
        Adapter(), description="Train a LoRA adapter with these settings; null trains all of the weights."
    )
    learning_rate: float = Field(gt=0, description="Size of the optimiser's steps at their largest.")
    warmup_ratio: Share = Field(0.1, description="Share of the steps in which the learning rate rises from zero.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="How the learning rate falls after the warm-up."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are cut to this length.")
    weight_decay: float = Field(0.0, ge=0, description="How strongly weights are pulled towards zero.")
    adam_eps: float = Field(1e-5, gt=0, description="Keeps Adam's steps small where gradients are tiny.")
    adam_betas: tuple[Share, Share] = Field(
        (0.9, 0.95), strict=False, description="How slowly Adam's two running averages forget."
    )
    micro_batch_tokens: int = Field(
        1024, gt=0, description="Tokens computed at once, which bounds memory; on a GPU more is faster."
    )
    max_length: int = Field(1024, gt=0, description="Longest prompt with its response, in tokens.")
    checkpoint_seconds: float = Field(60, ge=0, description="Seconds between saves of the state to resume from.")
    skip_bad: SkipBad = False
    columns: dict[str, str] = Field(
        {}, description="Columns of the data under other names: {prompt: question} reads question as the prompt."
    )
    allow_remote_code: AllowRemoteCode = False


class SFTStage(TrainingStage):
    """Supervised fine-tuning: learn to write what demonstrations show."""

    kind: Literal["sft"] = "sft"
    learning_rate: float = Field(2e-4, gt=0, description="Size of the optimiser's steps at their largest.")
    num_epochs: int = Field(3, gt=0, description="How often the demonstrations are read.")
    batch_size: int = Field(16, gt=0, description="Demonstrations a step.")
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever num_epochs says.")


class LabelStage(StageConfig):
    """Human feedback: write answers, have people compare them in their browsers, go on when enough have."""

    references = {"model": POLICIES}
    files = ("data",)
    not_in_key = frozenset({"allow_remote_code"})

    kind: Literal["label"] = "label"
    model: str = Field(description="What writes the answers: an earlier stage, a folder, a hub id or a bundled name.")
    data: str = Field(description="The prompts to answer: a file, a folder, or hf:owner/name:split.")
    project: str = Field(description="Folder of the labelling project; made if it is not there.")
    num_prompts: int | None = Field(None, gt=0, description="Prompts drawn from the data; null takes all.")
    group_size: int = Field(2, gt=1, le=9, description="Answers to each prompt; of more than two people rank them all.")
    max_new_tokens: int = Field(128, gt=0, description="Longest answer, in tokens.")
    temperature: float = Field(1.0, gt=0, description="How freely answers are drawn.")
    overlap: int = Field(1, gt=0, description="Votes an item gets, from different people, in a project that is made.")
    enough: Share = Field(1.0, description="Share of the votes to wait for.")
    seed: Seed = None
    skip_bad: SkipBad = False
    columns: dict[str, str] = Field(
        {}, description="Columns of the prompts under other names: {prompt: question} reads question as the prompt."
    )
    allow_remote_code: AllowRemoteCode = False


class RewardModelStage(TrainingStage):
    """A reward model: learn from comparisons, rankings or grades to score responses."""

    references = {**TrainingStage.references, "data": LABELLED}

    kind: Literal["reward_model"] = "reward_model"
    learning_rate: float = Field(1e-4, gt=0, description="Size of the optimiser's steps at their largest.")
    num_epochs: int = Field(1, gt=0, description="How often the comparisons are read; more than one tends to overfit.")
    prompts_per_step: int = Field(16, gt=0, description="Prompts a step, each with all of its comparisons.")
    ranking_loss: Literal["pairs", "plackett_luce"] = Field(
        "pairs", description="How rankings are learnt from: as all their pairs, or place by place from the top."
    )
    grade_loss: Literal["pairs", "ordinal"] = Field(
        "pairs",
        description="How grades are learnt from: as each annotator's pairs, or as steps of one scale, learnt beside.",
    )
    centering: float = Field(0.0, ge=0, description="How strongly the mean of the scores is pulled towards zero.")
    normalize: bool = Field(
        True, description="Give the scores of compared responses (64 prompts of them) mean 0 and deviation 1."
    )
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever num_epochs says.")

    @model_validator(mode="after")
    def _learns_from_one_kind(self) -> RewardModelStage:
        others = [name for name in ("ranking_loss", "grade_loss") if getattr(self, name) != "pairs"]
        if len(others) > 1:
            raise ValueError("data holds rankings or grades, so ranking_loss or grade_loss must be pairs")
        if others and self.centering:
            raise ValueError(f"centering is for pairs, but {others[0]} is {getattr(self, others[0])}")
        return self


class DPOStage(TrainingStage):
    """Direct preference optimisation: do more of what comparisons prefer, without a reward model."""

    references = {**TrainingStage.references, "data": LABELLED}

    kind: Literal["dpo"] = "dpo"
    learning_rate: float = Field(5e-5, gt=0, description="Size of the optimiser's steps at their largest.")
    beta: float = Field(0.1, gt=0, description="Price of drifting from the start: more keeps the policy closer to it.")
    num_epochs: int = Field(1, gt=0, description="How often the comparisons are read.")
    prompts_per_step: int = Field(16, gt=0, description="Prompts a step, each with all of its comparisons.")
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever num_epochs says.")


ImportanceCap = Annotated[
    float | None,
    Field(
        ge=1,
        description="Largest weight that corrects for the generator's log-probabilities not being the trainer's; "
        "null does not correct.",
    ),
]


class PPOStage(TrainingStage):
    """Reinforcement learning by PPO: write, be scored by the reward model, do more of what scored well."""

    references = {"model": POLICIES, "reward_model": ("reward_model",)}

    kind: Literal["ppo"] = "ppo"
    reward_model: str = Field(description="What scores responses: an earlier stage, or the folder of a reward model.")
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
    def _lets_kl_coef_stay_positive(self) -> PPOStage:
        responses = self.prompts_per_step * self.group_size
        if self.kl_target is not None and self.kl_horizon <= 0.2 * responses:
            raise ValueError(f"kl_horizon must be above 0.2 * prompts_per_step * group_size = {0.2 * responses:g}")
        if self.value_warmup_steps >= self.num_steps:
            raise ValueError("value_warmup_steps must be below num_steps, or the policy never learns")
        return self


class GRPOStage(TrainingStage):
    """Reinforcement learning by GRPO: write several answers, do more of those that score above their group's mean."""

    references = {"model": POLICIES, "reward_model": ("reward_model",)}

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
    scale_advantages: bool = Field(True, description="Divide advantages by the deviation of their group's scores.")
    aggregation: Literal["token", "response"] = Field(
        "response", description="What weighs the same in the loss: every token, or every response."
    )
    importance_cap: ImportanceCap = 2.0
    missing_eos_penalty: float = Field(0.0, ge=0, description="Taken from the score of a response that does not end.")


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


KINDS: dict[str, type[StageConfig]] = {
    "sft": SFTStage,
    "label": LabelStage,
    "reward_model": RewardModelStage,
    "dpo": DPOStage,
    "ppo": PPOStage,
    "grpo": GRPOStage,
    "evaluation": EvaluationStage,
    "report": ReportStage,
}
