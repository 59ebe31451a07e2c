"""The settings of the stages that learn from data: fine-tuning, a reward model, DPO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from trimtab.config.base import (
    COMPARISONS,
    DEMONSTRATIONS,
    POLICIES,
    OneOrSeveral,
    ReadingStage,
    Seed,
    Share,
    Strict,
)


class Adapter(Strict):
    """A LoRA adapter: small matrices that learn beside frozen weights."""

    rank: int = Field(16, gt=0, description="Width of the adapter's matrices: more can learn more and costs more.")
    alpha: int = Field(32, gt=0, description="Scale of the adapter's output, divided by the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs dropped while learning.")
    targets: str | list[str] = Field(
        "all-linear", description="Which layers get an adapter: all-linear, or names of layers."
    )


class TrainingStage(ReadingStage):
    """What the stages that train a model have in common."""

    model: str = Field(description="The model to start from: an earlier stage, a folder, a hub id or a bundled name.")
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


class SFTStage(TrainingStage):
    """Supervised fine-tuning: learn to write what demonstrations show."""

    references = {**TrainingStage.references, "data": DEMONSTRATIONS}
    files = (*TrainingStage.files, "chat_template")
    not_paths = frozenset({"auto", "plain", "gemma", "chatml"})

    kind: Literal["sft"] = "sft"
    chat_template: str = Field(
        "auto",
        description="How turns are written: plain, gemma, chatml, or a Jinja file. auto keeps the model's own; a model "
        "without one gets gemma or chatml where its vocabulary has their tokens, else plain.",
    )
    learning_rate: float = Field(2e-4, gt=0, description="Size of the optimiser's steps at their largest.")
    num_epochs: int = Field(3, gt=0, description="How often the demonstrations are read.")
    batch_size: int = Field(16, gt=0, description="Demonstrations a step.")
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever num_epochs says.")


class TextTuningStage(TrainingStage):
    """Fine-tuning on plain text: learn to write on as a text does, without prompts and without a chat template."""

    when_absent = (
        ". Put a plain text of your choice there, in UTF-8: any that you may use will do. Books out of copyright are "
        "at Project Gutenberg (www.gutenberg.org) as 'Plain Text UTF-8'; cut off what is added before and after them"
    )

    kind: Literal["text_tuning"] = "text_tuning"
    data: OneOrSeveral = Field(
        description="The text: a .txt file, a folder of them, or rows with a column text; a list is read in order."
    )
    held_out: float = Field(
        0.1, ge=0, lt=1, description="Share of the text, from its end, that is not learnt from, to measure on."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Size of the optimiser's steps at their largest.")
    num_epochs: int = Field(1, gt=0, description="How often the text is read.")
    batch_size: int = Field(8, gt=0, description="Rows of text a step.")
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever num_epochs says.")
    max_length: int = Field(256, gt=1, description="Tokens of a row; the text is packed into rows without padding.")


FROZEN_SETTINGS = {
    *ReadingStage.model_fields,
    *("model", "kind", "frozen", "l2", "normalize", "held_out", "seed", "max_length", "micro_batch_tokens"),
}
"""What a reward model on a frozen trunk has a use for."""


class RewardModelStage(TrainingStage):
    """A reward model: learn from comparisons, rankings or grades to score responses."""

    references = {"model": (*POLICIES, "reward_model"), "data": COMPARISONS}
    files = (*TrainingStage.files, "held_out")

    kind: Literal["reward_model"] = "reward_model"
    model: str = Field(
        description="The model: an earlier stage, a folder, a hub id or a bundled name. A reward model is trained "
        "on as it is, in its own adapter and with its head (preference model pre-training)."
    )
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
    frozen: bool = Field(
        False,
        description="Leave the model as it is and learn a bilinear head on what it has in mind of prompt and response: "
        "for a few hundred comparisons, in one reading. Settings of training steps then mean nothing and are refused.",
    )
    l2: float = Field(
        1e-4,
        gt=0,
        description="How strongly a frozen model's head is pulled to zero, or to the head it goes on from; to stay "
        "near that one, 1e-3 to 1e-2.",
    )
    held_out: str | None = Field(
        None, description="Comparisons that it learns nothing from, on which it is measured when it is done."
    )

    @model_validator(mode="after")
    def _learns_from_one_kind(self) -> RewardModelStage:
        others = [name for name in ("ranking_loss", "grade_loss") if getattr(self, name) != "pairs"]
        if len(others) > 1:
            raise ValueError("data holds rankings or grades, so ranking_loss or grade_loss must be pairs")
        if others and self.centering:
            raise ValueError(f"centering is for pairs, but {others[0]} is {getattr(self, others[0])}")
        return self

    @model_validator(mode="after")
    def _takes_no_steps_when_frozen(self) -> RewardModelStage:
        idle = sorted(self.model_fields_set - FROZEN_SETTINGS) if self.frozen else []
        if idle:
            raise ValueError(f"frozen: true takes no training steps, so leave out {', '.join(idle)}")
        if not self.frozen and "l2" in self.model_fields_set:
            raise ValueError("l2 is for frozen: true")
        return self


class DPOStage(TrainingStage):
    """Direct preference optimisation: do more of what comparisons prefer, without a reward model."""

    references = {**TrainingStage.references, "data": COMPARISONS}

    kind: Literal["dpo"] = "dpo"
    learning_rate: float = Field(5e-5, gt=0, description="Size of the optimiser's steps at their largest.")
    beta: float = Field(0.1, gt=0, description="Price of drifting from the start: more keeps the policy closer to it.")
    num_epochs: int = Field(1, gt=0, description="How often the comparisons are read.")
    prompts_per_step: int = Field(16, gt=0, description="Prompts a step, each with all of its comparisons.")
    max_steps: int | None = Field(None, gt=0, description="Stop after this many steps, whatever num_epochs says.")
