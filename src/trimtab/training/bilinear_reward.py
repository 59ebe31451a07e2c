"""Fits the bilinear head of a reward model: each response is read once, and then a convex problem is solved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trimtab.algorithms.output import LossOutput, reduce
from trimtab.algorithms.preference import bradley_terry_loss
from trimtab.errors import Interrupted
from trimtab.models.bilinear_reward import BilinearHead, BilinearReward, Standard
from trimtab.models.features import mean_features
from trimtab.models.reward_model import unit_scale
from trimtab.training.row_files import PreferenceRow
from trimtab.training.run import Run

WEIGHT_VARIANCE = 0.1
"""How freely w may vary beside M: it says what is good whatever was asked, which is learnt soonest."""
MAX_ITERATIONS = 300

Features = Sequence[tuple[Tensor, Tensor]]
"""Of each row's prompt `[D]` and responses `[responses, D]`."""


def fit_bilinear_reward(
    model: BilinearReward,
    rows: Sequence[PreferenceRow],
    *,
    l2: float,
    normalize: bool,
    pad_id: int,
    max_tokens: int,
    run: Run,
) -> None:
    """Fit the model's head on comparisons, pulled towards the head that it has.

    Minimises the Bradley-Terry loss, in which every prompt weighs the same (InstructGPT, equation 1), plus
    l2 * (|w - w0|^2 / 0.1 + |M - M0|^2), by L-BFGS in float64. A new head takes its standard from the features of these
    rows. With `normalize`, scores of the compared responses get mean 0 and deviation 1. All features are in memory at
    once: 4 D bytes a response. Raises `Interrupted`.
    """

    def heard(done: int, total: int) -> None:
        run.progress("reading responses", done, total)
        if run.stop_requested():
            raise Interrupted("stopped while it read responses; run again to begin it anew")

    items = [rows[index] for index in range(len(rows))]
    token_rows = [item.row for item in items]
    read = mean_features(model.trunk, token_rows, pad_id=pad_id, max_tokens=max_tokens, on_progress=heard)
    head = model.head if model.head.is_fitted else _standardising(model.head, read)
    pairs = _Pairs.of(items, [(head.prompts(prompt), head.responses(responses)) for prompt, responses in read])
    head = pairs.fit(head, l2)
    model.head = _normalised(head, read) if normalize else head
    run.log({"step": 1, **reduce(pairs.loss(head.weight.double(), head.interaction.double()).metrics)})


def _standardising(head: BilinearHead, read: Features) -> BilinearHead:
    of_prompts = Standard.of(torch.stack([prompt for prompt, _ in read]))
    return replace(head, prompts=of_prompts, responses=Standard.of(torch.cat([responses for _, responses in read])))


def _normalised(head: BilinearHead, read: Features) -> BilinearHead:
    scores = torch.cat([head.scores(prompt, responses) for prompt, responses in read])
    gain, bias = unit_scale(scores.mean().item(), scores.std(unbiased=False).item())
    return replace(head, gain=gain, bias=bias)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """What is learnt from, in float64: `prompts` and `differences` (chosen less rejected) `[N, D]`, the rest `[N]`."""

    prompts: Tensor
    differences: Tensor
    probability: Tensor
    margin: Tensor
    weights: Tensor

    @classmethod
    def of(cls, items: Sequence[PreferenceRow], features: Features) -> _Pairs:
        """Every pair of these rows, whose features are standardised. Each row weighs the same, and all of them 1."""
        pairs = [
            (
                prompt,
                responses[pair.chosen] - responses[pair.rejected],
                pair.probability,
                pair.margin,
                1 / len(item.pairs),
            )
            for item, (prompt, responses) in zip(items, features, strict=True)
            for pair in item.pairs
        ]
        prompts, differences, *labels = zip(*pairs, strict=True)
        probability, margin, weights = (torch.tensor(column, dtype=torch.float64) for column in labels)
        both = torch.stack(prompts).double(), torch.stack(differences).double()
        return cls(*both, probability, margin, weights / len(items))

    def loss(self, weight: Tensor, interaction: Tensor) -> LossOutput:
        """The Bradley-Terry loss of a head with these weights, at gain 1."""
        ahead = ((weight + self.prompts @ interaction.T) * self.differences).sum(1)
        return bradley_terry_loss(
            ahead,
            torch.zeros_like(ahead),
            probability=self.probability,
            margin=self.margin,
            weights=self.weights,
            normalizer=1.0,
        )

    def fit(self, head: BilinearHead, l2: float) -> BilinearHead:
        """The best head near this one, at gain 1."""
        before = [part.double() * head.gain for part in (head.weight, head.interaction)]
        learnt = [part.clone().requires_grad_() for part in before]
        optimizer = torch.optim.LBFGS(
            learnt, max_iter=MAX_ITERATIONS, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            moved, turned = (((new - old) ** 2).sum() for new, old in zip(learnt, before, strict=True))
            penalised = self.loss(*learnt).loss + l2 * (moved / WEIGHT_VARIANCE + turned)
            penalised.backward()
            return penalised

        optimizer.step(closure)
        weight, interaction = (part.detach().float() for part in learnt)
        return replace(head, weight=weight, interaction=interaction, gain=1.0, bias=0.0)
