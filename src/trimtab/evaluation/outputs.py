"""What a model wrote on the held-out prompts, ready to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trimtab.errors import DataError
from trimtab.evaluation.tasks.task import Score
from trimtab.evaluation.tasks.truth_checks import score_response, truth_task
from trimtab.types import Completion, Prompt

_MOST_KINDS = 20
TEMPLATED = "templated"


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """One model's completions, in the order of the prompts.

    `greedy[i]` is the completion of prompt i at temperature 0 and `greedy_scores[i]` its reward-model score;
    `sampled[i]` holds k completions and `sampled_scores[i]` their scores. `shown` answers prompts that are shown but
    not counted. Everything but `greedy` may be empty. `kind` is the kind of stage that made the model: empty for one
    from outside, `TEMPLATED` for a base that is asked a second time, with a chat template.
    """

    name: str
    greedy: Sequence[Completion]
    kind: str = field(default="", kw_only=True)
    greedy_scores: Sequence[float] = ()
    sampled: Sequence[Sequence[Completion]] = ()
    sampled_scores: Sequence[Sequence[float]] = ()
    shown: Sequence[Completion] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A model's outputs with the truth checks run on them (empty where prompts carry no truth)."""

    outputs: ModelOutputs
    greedy: tuple[Score, ...] = ()
    sampled: tuple[tuple[Score, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out prompts in groups. Every prompt is in the group "all"; several kinds make a group each."""

    prompts: Sequence[Prompt]
    groups: dict[str, list[int]] = field(default_factory=dict)

    def kind(self, index: int) -> str:
        """The group a prompt declares in its row's `kind` column, or an empty string."""
        return str(self.prompts[index].meta.get("kind", ""))

    def id(self, index: int) -> str:
        """The prompt's `id` column, or its number."""
        return str(self.prompts[index].meta.get("id", f"number {index + 1}"))


def group_prompts(prompts: Sequence[Prompt]) -> HeldOut:
    """Put the prompts in groups by `meta["kind"]`. Raises `DataError` when there are none, or too many kinds."""
    if not prompts:
        raise DataError("there are no held-out prompts, so nothing can be evaluated")
    held_out = HeldOut(prompts, {"all": list(range(len(prompts)))})
    kinds = list(dict.fromkeys(held_out.kind(index) for index in range(len(prompts))))
    if "all" in kinds or len(kinds) > _MOST_KINDS:
        raise DataError(
            f"the column 'kind' puts held-out prompts in groups; it may have {_MOST_KINDS} values at most (it has "
            f"{len(kinds)}), and none may be 'all'. Rename the column if it means something else"
        )
    if len(kinds) > 1:
        for kind in kinds:
            held_out.groups.setdefault(kind or "other", []).extend(
                index for index in range(len(prompts)) if held_out.kind(index) == kind
            )
    return held_out


def run_checks(outputs: ModelOutputs, prompts: Sequence[Prompt]) -> Judged:
    """Run the prompts' truth checks on a model's outputs. Raises `DataError` when an output is missing."""
    for what in (outputs.greedy, outputs.greedy_scores, outputs.sampled, outputs.sampled_scores):
        if len(what) not in ((len(prompts),) if what is outputs.greedy else (0, len(prompts))):
            raise DataError(f"{outputs.name} has {len(what)} outputs for {len(prompts)} prompts")
    if not any("truth" in prompt.meta for prompt in prompts):
        return Judged(outputs)
    samples = truth_task(prompts).samples
    greedy = tuple(score_response(sample, one.text) for sample, one in zip(samples, outputs.greedy, strict=True))
    sampled = tuple(
        tuple(score_response(sample, one.text) for one in several)
        for sample, several in zip(samples, outputs.sampled, strict=False)
    )
    return Judged(outputs, greedy, sampled)
