"""Which pairs people should compare next: those that reward heads, fitted to the votes so far, are uncertain about.

The uncertainty about a pair becomes its priority in the queue (`assignment.py`: higher is asked first). Whether that
saves labels is measured in docs/selection.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from trimtab.errors import LabellingError
from trimtab.evaluation.aggregation import vote_share
from trimtab.labelling.judgements import votes_of
from trimtab.labelling.records import Compared, Item, LabelledItem
from trimtab.labelling.reward_heads import Array, entropy, fit_head, fit_heads, mutual_information, probability
from trimtab.labelling.store import Store
from trimtab.models.features import response_features
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow

FEWEST_PAIRS = 20
"""Fewer pairs with votes say nothing of which others are uncertain."""
PRIOR_STD = 4.0
"""Deviation, before any votes, of the margin of a pair whose features differ as much as pairs do on average."""
BEGUN = 1.0
"""Priority of a pair that has some of its votes: above any uncertainty, so that it is finished first."""

Measure = Literal["information", "even"]
"""Of uncertainty: what a vote would tell of which head of an ensemble is right, or how even one head finds a pair."""
Differences = Callable[[Sequence[Item]], Array]
"""What a model sees differ between the two responses of each pair: `[N, D]`."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A pair without labels: P(first is better) by the head, or the mean of the heads, and the uncertainty in nats."""

    key: str
    probability: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Selection:
    """How many pairs the heads were fitted to and how many have been begun; the others, the most uncertain first."""

    fitted: int
    begun: int
    by: Measure
    pairs: tuple[Uncertain, ...]


def prioritise(
    store: Store, differences: Differences, *, by: Measure = "even", heads: int = 8, seed: int = 0
) -> Selection:
    """Put the pairs that have no labels in the order of their uncertainty, and those that have been begun before them.

    Known answers, the quiz and items of other kinds stay as they are. `heads` and `seed` are the ensemble's. Raises
    `LabellingError` with too few votes.
    """
    entries = [one for one in store.labelled_items() if one.item.kind == "compare" and one.item.gold is None]
    judged = [one for one in entries if any(isinstance(label.final, Compared) for label in one.labels)]
    others = [one.item for one in entries if not one.labels]
    _check(by, heads, len(judged), len(others))
    begun = [one.item.key for one in entries if one.labels]
    features = scaled(differences([*(one.item for one in judged), *others]))
    p, nats = _uncertainty(features[: len(judged)], _targets(judged), features[len(judged) :], by, heads, seed)
    found = zip((item.key for item in others), p.tolist(), nats.tolist(), strict=True)
    pairs = sorted((Uncertain(*one) for one in found), key=lambda pair: -pair.uncertainty)
    priorities = [(BEGUN, key) for key in begun] + [(pair.uncertainty, pair.key) for pair in pairs]
    with store.write() as db:
        db.executemany("UPDATE items SET priority = ? WHERE key = ?", priorities)
    return Selection(len(judged), len(begun), by, tuple(pairs))


def _targets(judged: Sequence[LabelledItem]) -> Array:
    shares = vote_share(votes_of(judged))
    return np.array([shares[one.item.key, 0, 1] for one in judged])


def _uncertainty(seen: Array, targets: Array, others: Array, by: Measure, heads: int, seed: int) -> tuple[Array, Array]:
    """P(first is better) and the uncertainty of every other pair."""
    if by == "even":
        p = probability(others @ fit_head(seen, targets, np.ones(len(seen)), prior_std=PRIOR_STD))
        return p, entropy(p)
    ensemble = probability(fit_heads(seen, targets, heads=heads, prior_std=PRIOR_STD, seed=seed) @ others.T)
    return ensemble.mean(0), mutual_information(ensemble)


def scaled(differences: Array) -> Array:
    """Differences `[N, D]` of which each feature has the same mean square, and a row the mean square 1 in all.

    They are not centred: which response of a pair is the first is arbitrary, so a mean has no meaning. Features that
    never differ become 0.
    """
    size = np.sqrt((differences**2).mean(0) * (differences != 0.0).any(0).sum())
    return np.divide(differences, size, out=np.zeros_like(differences), where=size > 0.0)


def seen_by(policy: Policy, *, max_tokens: int = 4096, on_progress: Progress = lambda done, total: None) -> Differences:
    """Differences of a policy's `response_features`. Raises `LabellingError` for a pair longer than the model reads."""

    def differences(items: Sequence[Item]) -> Array:
        rows = _rows(items, policy)
        features = response_features(
            policy.trunk,
            rows,
            pad_id=policy.template.pad_id,
            max_tokens=max_tokens,
            adapter=policy.adapter,
            on_progress=on_progress,
        )
        return np.stack([(pair[0] - pair[1]).double().numpy() for pair in features])

    return differences


def _rows(items: Sequence[Item], policy: Policy) -> list[TokenRow]:
    longest = getattr(policy.trunk.config, "max_position_embeddings", None)
    prompts = policy.template.encode_prompts([item.as_prompt() for item in items])
    texts = iter(policy.template.encode_responses([text for item in items for text in item.responses]))
    rows = []
    for item, prompt in zip(items, prompts, strict=True):
        row = TokenRow(tuple(prompt), (tuple(next(texts)), tuple(next(texts))))
        tokens = len(row.prompt_ids) + max(map(len, row.responses))
        if longest is not None and tokens > longest:
            raise LabellingError(f"the pair {item.key} has {tokens} tokens, and the model reads {longest}")
        rows.append(row)
    return rows


def _check(by: str, heads: int, judged: int, others: int) -> None:
    if by not in get_args(Measure):
        raise LabellingError(f"uncertainty cannot be measured by {by!r}; it can by {' and '.join(get_args(Measure))}")
    if heads < 2:
        raise LabellingError("one head cannot disagree with itself: heads must be 2 or more")
    if judged < FEWEST_PAIRS:
        raise LabellingError(
            f"pairs with votes: {judged}. It takes {FEWEST_PAIRS} to say which others are uncertain; until then all "
            "come in random order"
        )
    if not others:
        raise LabellingError("every pair has a label already: there is none to choose next")
