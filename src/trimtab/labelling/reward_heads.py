"""Reward heads on frozen features, and how far an ensemble of them is at one on a pair of responses.

A head is a vector w: it says that the first of two responses is the better one with probability 1 / (1 + exp(-w · x)),
where x is the first one's features minus the second one's (Bradley and Terry 1952). There is no constant, so exchanging
the two responses of a pair changes nothing but the sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trimtab.seeds import mix

Array = NDArray[np.float64]

_TOLERANCE = 1e-12  # nats that a Newton step promises; the next one would promise about the square of it
_ROUNDING = 1e-13
_MOST_STEPS = 100


def fit_heads(differences: Array, targets: Array, *, heads: int, prior_std: float, seed: int) -> Array:
    """Heads `[K, D]` that differ as far as the votes leave it open.

    Each is fitted to pairs drawn with replacement, as many as there are, and held to a vector of its own, drawn from
    the prior (randomised prior functions: Osband 2018, algorithm 1). Without that, heads would agree that a pair is
    even wherever none of them has seen a vote.
    """
    pairs, width = differences.shape
    found = []
    for number in range(heads):
        counts, centre = draw(pairs, width, seed, number)
        found.append(fit_head(differences, targets, counts, prior_std=prior_std, centre=prior_std * centre))
    return np.stack(found)


def draw(pairs: int, width: int, seed: int, number: int) -> tuple[Array, Array]:
    """What makes a head differ: how often each pair was drawn, `[N]`, and a vector of deviation 1, `[D]`."""
    rng = np.random.default_rng(mix(seed, number))
    counts = np.bincount(rng.integers(pairs, size=pairs), minlength=pairs).astype(np.float64)
    return counts, rng.normal(size=width)


def fit_head(
    differences: Array, targets: Array, counts: Array, *, prior_std: float, centre: Array | float = 0.0
) -> Array:
    """The head `[D]` most probable under a normal prior of this centre and deviation, by Newton's method.

    `differences` `[N, D]`; `targets` `[N]`, P(first is better) as people see it; `counts` `[N]`, how often each pair
    counts. Minimises the counted sum of cross-entropies plus |w - centre|² / (2 prior_std²), which is strictly convex.
    """
    centre = np.broadcast_to(centre, differences.shape[1:])
    # Votes move a head along the differences they are of and nowhere else: solve in as many directions as those span.
    basis, _ = np.linalg.qr(differences.T)
    return centre + basis @ _move(differences @ basis, differences @ centre, targets, counts, prior_std)


def _move(inside: Array, offsets: Array, targets: Array, counts: Array, prior_std: float) -> Array:
    """The move v `[d]` away from the centre, at which pairs have the margins `offsets` `[N]`."""
    move, prior = np.zeros(inside.shape[1]), np.eye(inside.shape[1]) / prior_std**2

    def loss(move: Array) -> float:
        margins = inside @ move + offsets
        return float(counts @ (np.logaddexp(0.0, margins) - targets * margins) + 0.5 * move @ prior @ move)

    for _ in range(_MOST_STEPS):
        p = probability(inside @ move + offsets)
        slope = inside.T @ (counts * (p - targets)) + prior @ move
        step = np.linalg.solve((inside.T * (counts * p * (1.0 - p))) @ inside + prior, slope)
        promised, before, size = float(slope @ step), loss(move), 1.0
        # A whole step may overshoot: take less of it until a quarter of what it promises comes true.
        while loss(move - size * step) > before - 0.25 * size * promised + _ROUNDING * before:
            size /= 2
        move = move - size * step
        if promised < _TOLERANCE:
            break
    return move


def probability(margins: Array) -> Array:
    """1 / (1 + exp(-margin)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -margins))


def mutual_information(probabilities: Array) -> Array:
    """How much the answer for each pair would tell of which head is right: `[K, M]` to `[M]`, nats, at most log 2.

    The entropy of the mean probability minus the mean entropy (BALD: Houlsby 2011, equation 2). It is small where heads
    agree, be it that a response is better or that the choice is even.
    """
    return np.maximum(entropy(probabilities.mean(0)) - entropy(probabilities).mean(0), 0.0)


def entropy(p: Array) -> Array:
    """Entropy of a choice of probability p, in nats."""
    q = 1.0 - p
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(p > 0.0, p * np.log(p), 0.0) - np.where(q > 0.0, q * np.log(q), 0.0)
