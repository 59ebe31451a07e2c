"""Rollouts: prompts -> completions -> scores and log-probabilities, ready for any policy-gradient method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trimtab.algorithms.group import zero_variance_fraction
from trimtab.generation.engine import Engine
from trimtab.generation.text import as_completion
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import RowBatch, TokenRow, lay_out, response_slices, row_batches
from trimtab.training.run import Run
from trimtab.training.step import bad_rows
from trimtab.types import Completion, Prompt


class Scorer(Protocol):
    """Gives every completion its raw score, `[R]`, prompt by prompt."""

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], rows: Sequence[TokenRow]
    ) -> Tensor:
        """Scores in the order of the rows' responses."""


MAX_LOGPROB_GAP = 0.1
"""Nats a token by which the generator's log-probabilities may differ from the trainer's before a run says so.

In float32 they agree to about 1e-5; in bfloat16 to 3e-3 on a fine-tuned model and to 4e-2 on one that is unsure of
every token. More means that the two do not compute the same model.
"""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What one batch of prompts became. `mask` and `sampler_logprobs` are `[R, T]`; `scores` and `finished` `[R]`.

    `sampler_logprobs` are by the engine that drew the tokens. `finished` is True where a response ended its turn by
    itself.
    """

    rows: list[TokenRow]
    completions: list[list[Completion]]
    mask: Tensor
    scores: Tensor
    finished: Tensor
    sampler_logprobs: Tensor

    @property
    def groups(self) -> Tensor:
        """The number of each response's prompt, `[R]`."""
        sizes = torch.tensor([len(row.responses) for row in self.rows])
        return torch.arange(len(self.rows)).repeat_interleave(sizes).to(self.mask.device)


def collect(
    policy: Policy,
    scorer: Scorer,
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Rollout:
    """Sample `group_size` completions a prompt from the policy as it is now, and score them."""
    template = policy.template
    prompt_ids = [template.prompt_ids(prompt) for prompt in prompts]
    with policy.trunk.using(policy.adapter):
        engine.load_weights(policy.model)
    groups = engine.generate(
        prompt_ids,
        group_size=group_size,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        on_progress=on_progress,
    )
    rows = [
        TokenRow(tuple(ids), tuple(tuple(sample.token_ids) for sample in group))
        for ids, group in zip(prompt_ids, groups, strict=True)
    ]
    completions = [
        [as_completion(template, prompt, sample) for sample in group]
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    device = policy.trunk.device
    mask = lay_out(rows, pad_id=template.pad_id).mask.to(device)
    samples = [sample for group in groups for sample in group]
    return Rollout(
        rows=rows,
        completions=completions,
        mask=mask,
        scores=scorer(prompts, completions, rows).to(device),
        finished=torch.tensor([sample.finish_reason == "stop" for sample in samples], device=device),
        sampler_logprobs=_padded([torch.tensor(sample.logprobs) for sample in samples], mask.shape[1]).to(device),
    )


def measure(rollout: Rollout, policy: Policy, *, temperature: float, max_tokens: int) -> tuple[Tensor, Tensor]:
    """The policy's log-probabilities of a rollout's tokens by the training graph, and its entropies: `[R, T]` each."""
    logprobs, entropies = over_rows(
        rollout.rows,
        lambda batch: policy.logprobs_and_entropy(batch, temperature=temperature),
        max_tokens=max_tokens,
        pad_id=policy.template.pad_id,
        device=rollout.mask.device,
    )
    return logprobs, entropies


def measure_reference(
    rollout: Rollout, reference: Reference, *, temperature: float, max_tokens: int, pad_id: int
) -> Tensor:
    """The reference's log-probabilities of the same tokens, on the same rows: `[R, T]`."""
    (ref_logprobs,) = over_rows(
        rollout.rows,
        lambda batch: (reference(batch, temperature),),
        max_tokens=max_tokens,
        pad_id=pad_id,
        device=rollout.mask.device,
    )
    return ref_logprobs


def check_scores(rollout: Rollout, where: str, run: Run) -> None:
    """Raise `NumericsError` naming the rows of a rollout that have a score which is not finite."""
    finite = torch.isfinite(rollout.scores)
    if not finite.all():
        bad = [i for i, piece in enumerate(response_slices(rollout.rows)) if not finite[piece].all()]
        raise bad_rows(rollout.rows, bad, "a score is not finite", where, run.state / "bad_batch.json")


def check_gap(gap: float, where: str, run: Run) -> None:
    """Warn when the generator draws from a distribution too far from the policy's. Importance weights correct it."""
    if gap > MAX_LOGPROB_GAP:
        run.warn(
            f"{where}: the generator's log-probabilities differ from the trainer's by {gap:.3f} nats a token, and more "
            f"than {MAX_LOGPROB_GAP} is unusual. Importance weights correct for it, up to importance_cap. Precision "
            "fp32 narrows the gap"
        )


def summarise(rollout: Rollout) -> dict[str, float]:
    """The numbers of a rollout worth watching, whatever is learnt from it."""
    numbers = {
        "score/mean": rollout.scores.mean(),
        "score/std": rollout.scores.std(unbiased=False),
        "response/length": rollout.mask.sum(1).float().mean(),
        "response/eos_fraction": rollout.finished.float().mean(),
        "group/zero_variance_fraction": zero_variance_fraction(rollout.scores, rollout.groups),
    }
    return {name: value.item() for name, value in numbers.items()}


def over_rows(
    rows: Sequence[TokenRow],
    function: Callable[[RowBatch], tuple[Tensor, ...]],
    *,
    max_tokens: int,
    pad_id: int,
    device: torch.device | str,
) -> list[Tensor]:
    """Apply a function of a batch micro-batch by micro-batch; its `[r, t]` results come back whole, as `[R, T]`."""
    slices = response_slices(rows)
    num_responses = sum(len(row.responses) for row in rows)
    longest = max(len(response) for row in rows for response in row.responses)
    results: list[Tensor] = []
    for indices, batch in row_batches(rows, max_tokens=max_tokens, pad_id=pad_id, device=device):
        with torch.no_grad():
            pieces = function(batch)
        if not results:
            results = [torch.zeros(num_responses, longest, dtype=p.dtype, device=device) for p in pieces]
        places = torch.cat([torch.arange(slices[i].start, slices[i].stop) for i in indices])
        for result, piece in zip(results, pieces, strict=True):
            result[places, : piece.shape[1]] = piece
    return results


def _padded(sequences: Sequence[Tensor], length: int) -> Tensor:
    padded = torch.zeros(len(sequences), length)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    return padded
