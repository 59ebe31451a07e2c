"""Chains of critique and revision as rows of a file: every text, and what became of each revision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.feedback.revision import Chain, Round, Text
from trimtab.feedback.revision_filter import KEPT
from trimtab.types import Prompt


@dataclass(frozen=True, slots=True)
class JudgedChain:
    """A chain with, round by round, why its revision was dropped (`KEPT` if it was not) and, if there was a scorer, the
    scores of the draft and of every revision."""

    chain: Chain
    dropped: tuple[str, ...]
    scores: tuple[float, ...] = ()


def chain_row(judged: JudgedChain, number: int) -> dict[str, Any]:
    """One line of `chains.jsonl`."""
    chain = judged.chain
    score = dict(enumerate(judged.scores))
    return {
        "id": chain.prompt.meta.get("id", f"chain-{number}"),
        "prompt": messages(chain.prompt),
        "draft": _text(chain.draft),
        "draft_score": score.get(0),
        "rounds": [
            {
                "principle": one.principle,
                "critique": _text(one.critique),
                "revision": _text(one.revision),
                "score": score.get(place),
                "kept": dropped == KEPT,
                "dropped": dropped,
            }
            for place, (one, dropped) in enumerate(zip(chain.rounds, judged.dropped, strict=True), start=1)
        ],
    }


def demonstration_rows(judged: JudgedChain, number: int) -> Iterator[dict[str, Any]]:
    """The revisions that were kept, of all rounds, as rows that fine-tuning reads, with where each comes from."""
    row = chain_row(judged, number)
    for place, one in enumerate(row["rounds"], start=1):
        if one["kept"]:
            yield {
                "id": f"{row['id']}/{place}",
                "prompt": row["prompt"],
                "completion": [{"role": "assistant", "content": one["revision"]["text"]}],
                "source": "revision",
                "principle": one["principle"],
            }


def to_state(chains: Sequence[Chain]) -> list[dict[str, Any]]:
    """Chains without their prompts, as JSON values."""
    return [
        {
            "draft": _text(chain.draft),
            "rounds": [
                {"principle": one.principle, "critique": _text(one.critique), "revision": _text(one.revision)}
                for one in chain.rounds
            ],
        }
        for chain in chains
    ]


def from_state(values: Sequence[Mapping[str, Any]], prompts: Sequence[Prompt]) -> list[Chain]:
    """What `to_state` wrote, with the prompts it was about."""
    return [
        Chain(
            prompt,
            Text(**value["draft"]),
            tuple(Round(one["principle"], Text(**one["critique"]), Text(**one["revision"])) for one in value["rounds"]),
        )
        for value, prompt in zip(values, prompts, strict=True)
    ]


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt's messages as JSON values."""
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def _text(text: Text) -> dict[str, str]:
    return {"text": text.text, "finish_reason": text.finish_reason}
