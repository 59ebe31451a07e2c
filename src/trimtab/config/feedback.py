"""The settings of the stages that gather feedback: people who label, models that criticise and revise."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from trimtab.config.base import COMPARISONS, POLICIES, DataStage, OneOrSeveral, ReadingStage, Seed, Share
from trimtab.config.endpoint import HOW_TO_ASK, EndpointSettings


class LabelStage(ReadingStage):
    """Human feedback: write answers, have people compare them in their browsers, go on when enough have."""

    not_in_key = frozenset({"allow_remote_code"})

    kind: Literal["label"] = "label"
    model: str = Field(description="What writes the answers: an earlier stage, a folder, a hub id or a bundled name.")
    project: str = Field(description="Folder of the labelling project; made if it is not there.")
    num_prompts: int | None = Field(None, gt=0, description="Prompts drawn from the data; null takes all.")
    group_size: int = Field(2, gt=1, le=9, description="Answers to each prompt; of more than two people rank them all.")
    max_new_tokens: int = Field(128, gt=0, description="Longest answer, in tokens.")
    temperature: float = Field(1.0, gt=0, description="How freely answers are drawn.")
    overlap: int = Field(1, gt=0, description="Votes an item gets, from different people, in a project that is made.")
    enough: Share = Field(1.0, description="Share of the votes to wait for.")
    aggregate: Literal["soft", "majority", "dawid-skene", "balanced"] = Field(
        "soft", description="How votes on two answers become one probability (docs/annotators.md)."
    )
    group: str | None = Field(
        None, description="For aggregate: balanced, what annotators said of themselves by which groups weigh the same."
    )
    margins: bool = Field(False, description="Whether votes for 'much better' ask the reward model for a lead.")
    seed: Seed = None

    @model_validator(mode="after")
    def _aggregates_what_it_can(self) -> LabelStage:
        if (self.aggregate == "balanced") != (self.group is not None):
            raise ValueError("aggregate: balanced and group: ATTRIBUTE go together")
        if self.group_size > 2 and (self.aggregate != "soft" or self.margins):
            raise ValueError("rankings are learnt from as they are: aggregate and margins are for group_size: 2")
        return self


class ReviseStage(ReadingStage):
    """Constitutional AI, first half: answer, criticise the answer by a principle, revise it, keep what is better."""

    references = {**ReadingStage.references, "critic": POLICIES, "scorer": ("reward_model",)}
    files = ("data", "constitution", "examples", "helpful")
    not_in_key = frozenset({"allow_remote_code"}) | HOW_TO_ASK

    kind: Literal["revise"] = "revise"
    model: str = Field(description="What answers: an earlier stage, a folder, a hub id or a bundled name.")
    critic: str | None = Field(None, description="What criticises and revises; null is the model itself.")
    endpoint: EndpointSettings | None = Field(None, description="A critic behind a server, in place of critic.")
    constitution: str = Field(description="The principles, a YAML file.")
    examples: str | None = Field(None, description="Worked examples of critique and revision, a YAML file.")
    written_prompts: int = Field(
        0,
        ge=0,
        description="Prompts that the model writes itself, from those of the data as examples, and answers too.",
    )
    num_revisions: int = Field(
        1,
        gt=0,
        description="Revisions written by each critique; the one that passes the filter and scores best is kept.",
    )
    num_examples: int = Field(2, ge=0, description="Worked examples shown with each request, drawn from the file.")
    rounds: int = Field(2, gt=0, description="Critiques and revisions of each answer, each by a principle drawn anew.")
    scorer: str | None = Field(
        None, description="A reward model by which a revision must beat its draft to be kept; null keeps it unscored."
    )
    least_gain: float = Field(0.0, description="By how much the scorer must find a revision better than the draft.")
    helpful: OneOrSeveral | None = Field(
        None, description="Prompts whose answers by the model are mixed in, so that it stays as helpful as it is."
    )
    helpful_answers: int = Field(2, gt=0, description="Answers mixed in to each helpful prompt.")
    helpful_request: str | None = Field(
        None,
        description="Added to each of these prompts when it is answered and left out of what is learnt, such as "
        "'Answer in two sentences.': the model learns to answer like that unasked.",
    )
    helpful_max_new_tokens: int = Field(
        256, gt=0, description="Longest of these, in tokens; an answer that is not finished by then is left out."
    )
    num_prompts: int | None = Field(None, gt=0, description="Prompts drawn from the data; null takes all.")
    max_new_tokens: int = Field(128, gt=0, description="Longest answer, critique and revision, in tokens.")
    temperature: float = Field(1.0, gt=0, description="How freely they are drawn.")
    seed: Seed = None

    @model_validator(mode="after")
    def _has_one_critic(self) -> ReviseStage:
        if self.critic is not None and self.endpoint is not None:
            raise ValueError("say who criticises once: critic, or endpoint")
        return self


class JudgeStage(DataStage):
    """AI feedback: write answers, have a model compare them by written instructions, with probabilities for labels."""

    schema_version: ClassVar[int] = 3
    references = {"model": POLICIES, "judge": (*POLICIES, "reward_model"), "data": COMPARISONS}
    files = ("data", "instructions", "constitution", "trusted")
    not_in_key = frozenset({"allow_remote_code"}) | HOW_TO_ASK

    kind: Literal["judge"] = "judge"
    model: str | None = Field(
        None,
        description="What writes the answers: an earlier stage, a folder, a hub id or a bundled name; null judges the "
        "two responses of each comparison that the data holds.",
    )
    judge: str | None = Field(
        None, description="What compares them: a model that reads instructions, or a reward model (a stage or folder)."
    )
    endpoint: EndpointSettings | None = Field(None, description="A judge behind a server, in place of judge.")
    instructions: str | None = Field(None, description="What the judge goes by, a text file; it is part of each label.")
    constitution: str | None = Field(None, description="Principles whose comparison questions are asked, a YAML file.")
    ask: Literal["all", "one"] = Field(
        "one", description="Of several questions: ask all about each pair, or one drawn for its prompt."
    )
    thinking: int = Field(0, ge=0, description="Tokens of reasons that the judge writes before it decides; 0 for none.")
    clamp: tuple[Share, Share] = Field(
        (0.4, 0.6),
        strict=False,
        description="Limits of a probability that follows reasons, which make a judge too sure.",
    )
    undecided: float = Field(0.0, ge=0, lt=0.5, description="A probability nearer to 1/2 than this is no label.")
    disagreement: Share = Field(1.0, description="Nor is one whose two orders differ by more than this.")
    least_mass: Share = Field(
        0.01, description="Probability both letters must have together, or the judge did not answer the question."
    )
    trusted: str | None = Field(
        None, description="Comparisons that people labelled, on which the judge is measured before it labels others."
    )
    injections: bool = Field(
        False, description="Try answers that tell the judge what to say, too: some 900 pairs, which cost their time."
    )
    num_prompts: int | None = Field(None, gt=0, description="Prompts drawn from the data; null takes all.")
    group_size: int = Field(2, gt=1, le=9, description="Answers to each prompt; of more than two all pairs are judged.")
    max_new_tokens: int = Field(128, gt=0, description="Longest answer, in tokens.")
    finished_only: bool = Field(
        False, description="Compare only answers that end by themselves; those cut at max_new_tokens are left out."
    )
    temperature: float = Field(1.0, gt=0, description="How freely answers are drawn.")
    seed: Seed = None

    @field_validator("clamp")
    @classmethod
    def _leaves_room(cls, clamp: tuple[float, float]) -> tuple[float, float]:
        if clamp[0] > clamp[1]:
            raise ValueError(f"the lower limit comes first and is not above the other: [{clamp[1]:g}, {clamp[0]:g}]")
        return clamp

    @model_validator(mode="after")
    def _has_one_judge(self) -> JudgeStage:
        if (self.judge is None) == (self.endpoint is None):
            raise ValueError("say who judges: judge, or endpoint")
        return self


class SelfInstructStage(ReadingStage):
    """Self-Instruct: a model makes new tasks and their answers from seed tasks, and filters keep what is usable."""

    files = ("data", "held_out")
    not_in_key = frozenset({"allow_remote_code"}) | HOW_TO_ASK

    kind: Literal["self_instruct"] = "self_instruct"
    model: str | None = Field(  # type: ignore[assignment]  # a server may take its place
        None, description="What writes: an earlier stage, a folder, a hub id or a bundled name."
    )
    endpoint: EndpointSettings | None = Field(None, description="A model behind a server, in place of model.")
    data: OneOrSeveral = Field(description="The seed tasks: rows of instruction, input, output, is_classification.")
    held_out: list[str] = Field([], description="Evaluation data, files: what overlaps with it is dropped.")
    num_instructions: int = Field(60, gt=0, description="Stop when so many new tasks are kept.")
    max_rounds: int = Field(20, gt=0, description="Stop after so many rounds, however few are kept.")
    tasks_per_round: int = Field(16, gt=0, description="Instructions asked for in a round.")
    human_examples: int = Field(6, gt=0, description="Seed tasks shown with each request for a new one.")
    machine_examples: int = Field(2, ge=0, description="New tasks shown with it, once there are some.")
    instances_per_task: int = Field(1, gt=0, description="Instances asked for of each new instruction.")
    instruction_tokens: int = Field(80, gt=0, description="Longest instruction, in tokens.")
    max_new_tokens: int = Field(160, gt=0, description="Longest instance, input and output together, in tokens.")
    temperature: float = Field(0.7, gt=0, description="How freely both are drawn.")
    top_p: float = Field(0.5, gt=0, le=1, description="Draw from the likeliest tokens that have this share together.")
    rouge_threshold: Share = Field(0.7, description="Drop an instruction whose ROUGE-L to another is above this.")
    include_seeds: bool = Field(True, description="Put the seed tasks into what is made, before the new ones.")
    seed: Seed = None

    @model_validator(mode="after")
    def _has_one_writer(self) -> SelfInstructStage:
        if (self.model is None) == (self.endpoint is None):
            raise ValueError("say what writes: model, or endpoint")
        return self
