"""The settings of the stages that gather feedback: people who label."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trimtab.config.base import ReadingStage, Seed, Share


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
    seed: Seed = None
