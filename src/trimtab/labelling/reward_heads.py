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


def fit_head(differences: Array, targets: Array, counts: Array, *, prior_std: float) -> Array:
    """The head `[D]` most probable under a normal prior of this deviation, by Newton's method.

    `differences` `[N, D]`; `targets` `[N]`, P(first is better) as people see it; `counts` `[N]`, how often each pair
    counts. Minimises the counted sum of cross-entropies plus |w|² / (2 prior_std²), which is strictly convex.
    """
    head, prior = np.zeros(differences.shape[1]), np.eye(differences.shape[1]) / prior_std**2

    def loss(head: Array) -> float:
        margins = differences @ head
        return float(counts @ (np.logaddexp(0.0, margins) - targets * margins) + 0.5 * head @ prior @ head)

    for _ in range(_MOST_STEPS):
        p = probability(differences @ head)
        slope = differences.T @ (counts * (p - targets)) + prior @ head
        step = np.linalg.solve((differences.T * (counts * p * (1.0 - p))) @ differences + prior, slope)
        promised, before, size = float(slope @ step), loss(head), 1.0
        # A whole step may overshoot: take less of it until a quarter of what it promises comes true.
        while loss(head - size * step) > before - 0.25 * size * promised + _ROUNDING * before:
            size /= 2
        head = head - size * step
        if promised < _TOLERANCE:
            break
    return head


def fit_heads(differences: Array, targets: Array, *, heads: int, prior_std: float, seed: int) -> Array:
    """Heads `[K, D]`, each fitted to pairs drawn with replacement, as many as there are (Efron 1979)."""
    # The best head is a weighted sum of the differences it was fitted to: solve in as many directions as there are.
    basis, _ = np.linalg.qr(differences.T)
    inside = differences @ basis
    return np.stack(
        [
            basis @ fit_head(inside, targets, resample(len(targets), seed, number), prior_std=prior_std)
            for number in range(heads)
        ]
    )


def resample(pairs: int, seed: int, number: int) -> Array:
    """How often each of so many pairs is drawn by a resample, `[N]`."""
    drawn = np.random.default_rng(mix(seed, number)).integers(pairs, size=pairs)
    return np.bincount(drawn, minlength=pairs).astype(np.float64)


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
