"""What an evaluation on held-out text promises before the run, and what came of it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from trimtab.evaluation.format import change_estimate_text, estimate_text
from trimtab.evaluation.statistics import Estimate
from trimtab.evaluation.verdicts import Outcome, Verdict

MOST_COPIED = 0.05
"""Share of its runs of 8 words that a model may have from the text it learnt from."""


def text_verdicts(evaluation: Mapping[str, Any]) -> list[Verdict]:
    """The verdicts: foreseeing, the classifier, the style, copying. The last of the models is the text itself."""
    models = evaluation["models"][:-1]
    accuracy = Estimate.from_json(evaluation["style_classifier"]["accuracy"])
    found = [_above_chance(accuracy)]
    for old, new in itertools.pairwise(models):
        fewer = _change(evaluation, "bits_per_byte", old, new)
        found.append(
            Verdict(
                claim=f"{new} foresees text it has not seen better than {old}: with fewer bits to a byte.",
                bar="difference with its whole interval below 0",
                outcome="met" if fewer.high < 0 else "not met" if fewer.low > 0 else "open",
                finding=f"Difference {change_estimate_text(fewer, 'bits')}, paired by passage, n = {fewer.n}.",
            )
        )
        more = _change(evaluation, "style", old, new)
        found.append(
            Verdict(
                claim=f"More of what {new} writes is judged to be in the style of the text than of {old}.",
                bar="difference with its whole interval above 0",
                outcome="met" if more.low > 0 else "not met" if more.high < 0 else "open",
                finding=f"Difference {change_estimate_text(more, 'share')}, paired by passage, n = {more.n}.",
            )
        )
        found.append(_does_not_copy(evaluation, new))
    return found


def _above_chance(accuracy: Estimate) -> Verdict:
    return Verdict(
        claim="The style classifier tells the text from what the model wrote before training, on passages new to it.",
        bar="accuracy with its whole interval above 50 %, which is guessing",
        outcome="met" if accuracy.low > 0.5 else "not met" if accuracy.high < 0.5 else "open",
        finding=f"Accuracy {estimate_text(accuracy, 'share')}, n = {accuracy.n} passages.",
    )


def _does_not_copy(evaluation: Mapping[str, Any], name: str) -> Verdict:
    by_model = next(row["by_model"] for row in evaluation["metrics"] if row["metric"] == "copied")
    share = Estimate.from_json(by_model[name]) if by_model[name] else None
    outcome: Outcome = "open"
    if share is not None:
        outcome = "met" if share.high < MOST_COPIED else "not met" if share.low > MOST_COPIED else "open"
    return Verdict(
        claim=f"{name} writes in its own words: it does not copy the text it learnt from.",
        bar=f"fewer than {100 * MOST_COPIED:.0f} % of its runs of 8 words stand there, with the interval",
        outcome=outcome,
        finding=f"{estimate_text(share, 'share')}, n = {share.n} passages." if share else "Its samples are too short.",
    )


def _change(evaluation: Mapping[str, Any], metric: str, old: str, new: str) -> Estimate:
    return next(
        Estimate.from_json(row["estimate"])
        for row in evaluation["differences"]
        if (row["metric"], row["before"], row["after"]) == (metric, old, new)
    )
