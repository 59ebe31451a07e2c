"""What is true and how each annotator errs, when neither is known: Dawid and Skene 1979, Applied Statistics 28(1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]

_TOLERANCE = 1e-6
_MOST_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Fit:
    """What the EM algorithm ends with.

    `probabilities[i, j]`: how probable it is that item i is of class j. `marginals[j]`: how common the class is.
    `error_rates[k, j, l]`: how often annotator k says l of an item of class j. `log_likelihood` is in nats.
    """

    probabilities: Array
    marginals: Array
    error_rates: Array
    log_likelihood: float


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings, one an entry: which item, by whom, and which class they said, each counted from 0."""

    items: Numbers
    annotators: Numbers
    classes: Numbers

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many items, annotators and classes there are."""
        return int(self.items.max()) + 1, int(self.annotators.max()) + 1, int(self.classes.max()) + 1


def fit(ratings: Ratings, *, smoothing: float) -> Fit:
    """Fit by the EM algorithm, from the shares of ratings (equation 3.1) until no probability moves by 1e-6.

    `smoothing` is added to how often each annotator said each class of each class. 0 is the paper's maximum likelihood,
    for which whoever rated one item is always or never right.
    """
    num_items, _, num_classes = ratings.shape
    given = np.bincount(ratings.items * num_classes + ratings.classes, minlength=num_items * num_classes)
    probabilities = given.reshape(num_items, num_classes) / np.bincount(ratings.items)[:, None]
    for _ in range(_MOST_STEPS):
        before = probabilities
        marginals, error_rates = _maximise(ratings, probabilities, smoothing)
        probabilities, log_likelihood = _expect(ratings, marginals, error_rates)
        if np.abs(probabilities - before).max() < _TOLERANCE:
            break
    return Fit(probabilities, marginals, error_rates, log_likelihood)


def _maximise(ratings: Ratings, probabilities: Array, smoothing: float) -> tuple[Array, Array]:
    """How common the classes are and how annotators err, given what the items are. Equations 2.3 and 2.4."""
    _, num_annotators, num_classes = ratings.shape
    cell = ratings.annotators * num_classes + ratings.classes
    weights = probabilities[ratings.items].T
    tallies = [np.bincount(cell, weight, num_annotators * num_classes) for weight in weights]
    said = np.stack(tallies).reshape(num_classes, num_annotators, num_classes).swapaxes(0, 1) + smoothing
    totals = said.sum(2, keepdims=True)
    return probabilities.mean(0), np.divide(said, totals, out=np.zeros_like(said), where=totals > 0)


def _expect(ratings: Ratings, marginals: Array, error_rates: Array) -> tuple[Array, float]:
    """What the items are, given how common classes are and how annotators err; log-likelihood. Equations 2.5, 2.7."""
    with np.errstate(divide="ignore"):  # what an annotator never says of a class rules the class out
        terms = np.log(error_rates)[ratings.annotators, :, ratings.classes].T
        joint = np.log(marginals) + np.stack([np.bincount(ratings.items, term) for term in terms], axis=1)
    highest = joint.max(1, keepdims=True)
    likelihood = np.exp(joint - highest)
    total = likelihood.sum(1, keepdims=True)
    return likelihood / total, float((highest + np.log(total)).sum())
