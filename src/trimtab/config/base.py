"""What all kinds of stages share: strict settings, how to compute, and what a setting may refer to."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

POLICIES = ("sft", "text_tuning", "dpo", "ppo", "grpo")
"""Kinds of stages whose artifact is a model that writes."""
COMPARISONS = ("label", "judge")
"""Kinds of stages whose artifact is comparisons."""
DEMONSTRATIONS = ("revise", "self_instruct")
"""Kinds of stages whose artifact is demonstrations."""

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


class StageConfig(Strict):
    """What all kinds of stages have. The class variables tell the pipeline what a setting refers to."""

    schema_version: ClassVar[int] = 1
    """Part of every key: raise it when a stage of this kind comes to mean something else."""
    references: ClassVar[dict[str, tuple[str, ...]]] = {}
    """Setting -> the kinds of stages it may name. It may hold one name or a list."""
    stage_only: ClassVar[frozenset[str]] = frozenset()
    """References that must be a stage; the others may be a model's folder, hub id or bundled name."""
    files: ClassVar[tuple[str, ...]] = ()
    """Settings that hold the path of a file or folder, relative to the recipe."""
    when_absent: ClassVar[str] = ""
    """What to say of data that is not there, beside that."""
    not_paths: ClassVar[frozenset[str]] = frozenset()
    """Values of those settings that are names and no paths."""
    not_in_key: ClassVar[frozenset[str]] = frozenset({"checkpoint_seconds", "allow_remote_code"})
    """Settings that cannot change what comes out; `block.setting` names one inside a block."""

    kind: str


def _one_or_several(value: Any) -> Any:
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(one, str) for one in several):
        raise ValueError(f"must be a text or a list of texts, not {value!r}")
    return value


OneOrSeveral = Annotated[str | list[str], BeforeValidator(_one_or_several)]


class DataStage(StageConfig):
    """A stage that works through data."""

    files: ClassVar[tuple[str, ...]] = ("data",)

    data: OneOrSeveral = Field(
        description="The data: a file, a folder, or hf:owner/name:split; a list is read one after another."
    )
    skip_bad: SkipBad = False
    columns: dict[str, str] = Field(
        {}, description="Columns of the data under other names: {prompt: question} reads question as the prompt."
    )
    allow_remote_code: AllowRemoteCode = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The data, as one or several of its kind."""
        return (self.data,) if isinstance(self.data, str) else tuple(self.data)


class ModelStage(StageConfig):
    """A stage that has a model."""

    references = {"model": POLICIES}

    model: str = Field(description="The model: an earlier stage, a folder, a hub id or a bundled name.")


class ReadingStage(DataStage, ModelStage):
    """A stage in which a model works through data. The model is its first setting."""
