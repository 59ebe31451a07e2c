"""Reward model from grades: a score for every response, and the scale on which people graded, learnt beside it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from trimtab.algorithms.ordinal import cumulative_logit_loss
from trimtab.algorithms.output import LossOutput
from trimtab.errors import DataError
from trimtab.models.rows import RowBatch, response_slices
from trimtab.models.scalar_model import ScalarModel
from trimtab.training.reward_model import Objective
from trimtab.training.row_files import GradedRow

SCALE_FILE = "grade_scale.json"


class GradeScale:
    """The grades that were given, lowest first, and the scores at which one ends and the next begins.

    P(grade <= grades[k]) = sigmoid(steepness * (thresholds[k] - score)). There is a threshold less than there are
    grades; they are kept in order by learning the first and the logarithms of the gaps.
    """

    def __init__(self, scores: Iterable[float], *, width: int, device: torch.device | str = "cpu") -> None:
        """A scale as a model would have it that knows how often each grade is given, and nothing else.

        `width` is that of the model's head. Each number is the sum of as many, so that Adam, which moves all numbers
        alike, moves thresholds at the pace of scores. Raises `DataError` when all grades are the same.
        """
        counts = Counter(scores)
        self.grades = sorted(counts)
        if len(self.grades) < 2:
            raise DataError(
                f"every grade is {self.grades[0]:g}: there is nothing to learn from grades that are all alike"
            )
        below = list(accumulate(counts[grade] for grade in self.grades))
        start = [math.log(count / (below[-1] - count)) for count in below[:-1]]
        numbers = [start[0], *(math.log(high - low) for low, high in pairwise(start))]
        spread = torch.tensor(numbers, device=device)[:, None].expand(-1, width) / width
        self._numbers = nn.Parameter(spread.contiguous())
        self._levels = {grade: level for level, grade in enumerate(self.grades)}

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is learnt, by name."""
        return {"grade_scale": self._numbers}

    def thresholds(self) -> Tensor:
        """The thresholds in rising order, `[K - 1]` for K grades, in units of the score while it is learnt."""
        first, *gaps = self._numbers.sum(1).split(1)
        return torch.cat([first, *(gap.exp() for gap in gaps)]).cumsum(0)

    def level(self, grade: float) -> int:
        """The place of a grade on the scale, from 0."""
        return self._levels[grade]

    def save(self, folder: Path, *, mean: float, deviation: float) -> None:
        """Write the scale for scores that had this mean and deviation while it was learnt, and are now normalised."""
        thresholds = ((self.thresholds().detach() - mean) / deviation).tolist()
        scale = {"grades": self.grades, "thresholds": thresholds, "steepness": deviation}
        (folder / SCALE_FILE).write_text(json.dumps(scale))


def on_grades(model: ScalarModel, scale: GradeScale) -> Objective[GradedRow]:
    """Proportional odds, by `grading_loss`; the scale is learnt beside the model."""
    return Objective(
        partial(grading_loss, model, scale), scale.parameters(), show={"error": "reward_model/grade_error"}
    )


def grading_loss(
    model: ScalarModel, scale: GradeScale, rows: Sequence[GradedRow], laid: RowBatch, normalizer: float
) -> LossOutput:
    """Cumulative logit loss of every grade, averaged over a response's grades, then over a row's graded responses."""
    scores = model.scores(laid, train=True)
    places, levels, weights = [], [], []
    for piece, row in zip(response_slices([row.row for row in rows]), rows, strict=True):
        num_grades = Counter(grade.response for grade in row.grades)
        for grade in row.grades:
            places.append(piece.start + grade.response)
            levels.append(scale.level(grade.score))
            weights.append(1 / (len(num_grades) * num_grades[grade.response]))
    return cumulative_logit_loss(
        scores[places],
        torch.tensor(levels, device=scores.device),
        scale.thresholds(),
        weights=torch.tensor(weights, device=scores.device),
        normalizer=normalizer,
    )
