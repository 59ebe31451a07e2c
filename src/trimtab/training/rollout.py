"""Rollouts: prompts -> completions -> scores -> response tensors, ready for any policy-gradient method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trimtab.generation.engine import Engine
from trimtab.generation.text import as_completion
from trimtab.models.policy import Policy
from trimtab.models.reference import Reference
from trimtab.models.rows import RowBatch, TokenRow, lay_out, micro_batches, response_slices
from trimtab.types import Completion, Prompt


class Scorer(Protocol):
    """Gives every completion its raw score, `[R]`, prompt by prompt."""

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]], rows: Sequence[TokenRow]
    ) -> Tensor:
        """Scores in the order of the rows' responses."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What one batch of prompts became. Tensors are response tensors: `[R, T]`, or `[R]` for `scores`.

    `logprobs` and `entropies` are the policy's at sampling time, by the training graph; `sampler_logprobs` are the same
    tokens' by the engine that drew them. `finished` is True where a response ended its turn by itself.
    """

    rows: list[TokenRow]
    completions: list[list[Completion]]
    mask: Tensor
    scores: Tensor
    finished: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    entropies: Tensor
    sampler_logprobs: Tensor


def collect(
    policy: Policy,
    reference: Reference,
    scorer: Scorer,
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    max_tokens: int,
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

    def measure(batch: RowBatch) -> tuple[Tensor, ...]:
        logprobs, entropies = policy.logprobs_and_entropy(batch, temperature=temperature)
        return logprobs, entropies, reference(batch, temperature)

    pad_id, device = template.pad_id, policy.trunk.device
    logprobs, entropies, ref_logprobs = over_rows(rows, measure, max_tokens=max_tokens, pad_id=pad_id, device=device)
    samples = [sample for group in groups for sample in group]
    return Rollout(
        rows=rows,
        completions=completions,
        mask=lay_out(rows, pad_id=pad_id).mask.to(device),
        scores=scorer(prompts, completions, rows).to(device),
        finished=torch.tensor([sample.finish_reason == "stop" for sample in samples], device=device),
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        entropies=entropies,
        sampler_logprobs=_padded([torch.tensor(sample.logprobs) for sample in samples], logprobs.shape[1]).to(device),
    )


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
    for indices in micro_batches(rows, max_tokens=max_tokens):
        chunk = [rows[i] for i in indices]
        with torch.no_grad():
            pieces = function(lay_out(chunk, pad_id=pad_id, device=device))
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
