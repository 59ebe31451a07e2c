"""An evaluation on held-out text as one JSON-able result, in the form of `evaluation/summary.py`, so that the report
shows both alike. Its units are passages, and its last "model" is the text itself, which shows what can be reached.

Beside what `summary.py` has it holds

    counted            "passages"
    reference          "the text": which of the models is none
    style_classifier   {accuracy, right_on_text, right_on_base, for, against}: estimates of how often it is right on
                       passages it did not learn from, and the trigrams that speak most for the style and against it
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from trimtab.data.passages import Passage
from trimtab.evaluation.bootstrap import Array, bootstrap
from trimtab.evaluation.format import Unit
from trimtab.evaluation.overlap import copied
from trimtab.evaluation.statistics import (
    clustered_proportion,
    mcnemar,
    mean,
    paired_difference,
    paired_proportion_difference,
    proportion,
)
from trimtab.evaluation.style import StyleClassifier
from trimtab.evaluation.text_verdicts import text_verdicts

THE_TEXT = "the text"
"""What the true continuations are called among the models."""
STRETCH = 300
"""Characters of a sample that are looked at, and of the text beside it, so that all are equally long."""
_TELLING = 12

Row = dict[str, Any]
Statistic = Callable[[Array], float]
"""Of how often each passage is drawn."""


@dataclass(frozen=True, slots=True)
class Writer:
    """What wrote on from each passage's opening, and what was measured of it: a model, or the text itself.

    `nats[i]` and `tokens[i]` are the loss on passage i and its length, empty for the text; `runs[i]` is what
    `runs_in_common` found of sample i.
    """

    name: str
    samples: Sequence[str]
    runs: Sequence[Sequence[int]]
    kind: str = ""
    nats: Sequence[float] = ()
    tokens: Sequence[int] = ()


def evaluate_text(
    writers: Sequence[Writer],
    passages: Sequence[Passage],
    classifier: StyleClassifier,
    *,
    num_random: int,
    seed: int,
) -> Row:
    """Measure models on passages that none learnt from. The first is the base, the last the text itself."""
    judged = {writer.name: [classifier.is_in_style(sample) for sample in writer.samples] for writer in writers}
    models = writers[:-1]
    rows = [
        *_foreseen(models, passages, seed),
        *_share("style", "Samples judged to be in the style of the text", judged, [one.name for one in models]),
        *_copied(writers),
    ]
    result: Row = {
        "schema": 1,
        "counted": "passages",
        "reference": writers[-1].name,
        "models": [writer.name for writer in writers],
        "kinds": {writer.name: writer.kind for writer in writers},
        "groups": {"all": len(passages)},
        "seed": seed,
        "metrics": [row for row in rows if "by_model" in row],
        "differences": [row for row in rows if "by_model" not in row],
        "style_classifier": _classifier(classifier, writers[-1], writers[0]),
        "examples": _examples(writers, passages, judged, num_random, seed),
    }
    return {**result, "verdicts": [asdict(one) for one in text_verdicts(result)]}


def _classifier(classifier: StyleClassifier, text: Writer, base: Writer) -> Row:
    """How often the classifier is right on the text and on what the base model wrote instead, and what decides."""
    right = [float(classifier.is_in_style(sample)) for sample in text.samples]
    refused = [float(not classifier.is_in_style(sample)) for sample in base.samples]
    both = clustered_proportion([*right, *refused], [*range(len(right)), *range(len(refused))])
    speaks_for, speaks_against = classifier.telling([*text.samples, *base.samples], _TELLING)
    return {
        "accuracy": both.to_json(),
        "right_on_text": proportion(round(sum(right)), len(right)).to_json(),
        "right_on_base": proportion(round(sum(refused)), len(refused)).to_json(),
        "for": speaks_for,
        "against": speaks_against,
    }


def _foreseen(models: Sequence[Writer], passages: Sequence[Passage], seed: int) -> list[Row]:
    """Bits to a byte, which do not depend on the tokenizer, and perplexity, which does."""
    sizes = np.array([len(one.text.encode()) for one in passages], dtype=np.float64)
    nats = {one.name: np.array(one.nats) for one in models}
    tokens = {one.name: np.array(one.tokens, dtype=np.float64) for one in models}

    def bits(name: str, weights: Array) -> float:
        return float(weights @ nats[name] / (weights @ sizes)) / math.log(2)

    def perplexity(name: str, weights: Array) -> float:
        return math.exp(weights @ nats[name] / (weights @ tokens[name]))

    rows: list[Row] = []
    for head, statistic in (
        (_head("bits_per_byte", "Bits to a byte of held-out text; fewer are better", "bits"), bits),
        (_head("perplexity", "Perplexity of held-out text, by token; less is better", "score"), perplexity),
    ):
        found = {name: partial(statistic, name) for name in nats}
        by_model = {name: _resampled(one, len(passages), seed) for name, one in found.items()}
        rows.append(head | {"by_model": by_model | {THE_TEXT: None}})
        for old, new in itertools.pairwise(found):
            change = _resampled(partial(_change, found[old], found[new]), len(passages), seed)
            rows.append(head | {"before": old, "after": new, "estimate": change})
    return rows


def _change(before: Statistic, after: Statistic, weights: Array) -> float:
    """The difference on the same passages, whichever are drawn."""
    return after(weights) - before(weights)


def _resampled(statistic: Statistic, count: int, seed: int) -> Row:
    return bootstrap(statistic, np.ones(count), "bootstrap over passages", seed).to_json()


def _share(metric: str, title: str, judged: dict[str, list[bool]], models: Sequence[str]) -> list[Row]:
    head = _head(metric, title, "share")
    by_model = {name: proportion(sum(passed), len(passed)).to_json() for name, passed in judged.items()}
    rows = [head | {"by_model": by_model}]
    for old, new in itertools.pairwise(models):
        change = paired_proportion_difference(judged[old], judged[new]).to_json()
        test = asdict(mcnemar(judged[old], judged[new]))
        rows.append(head | {"before": old, "after": new, "estimate": change, "mcnemar": test})
    return rows


def _copied(writers: Sequence[Writer]) -> list[Row]:
    """How much of the samples stands in the text that was learnt from, and the longest run of each."""
    share = _head("copied", "Runs of 8 words that stand in the text learnt from", "share")
    longest = _head("longest", "Longest run of words shared with it, of 4 or more", "words")
    found = {writer.name: [copied(runs) for runs in writer.runs] for writer in writers}
    lengths = {writer.name: [float(max(runs, default=0)) for runs in writer.runs] for writer in writers}
    shares = {name: [sum(one) / len(one) if one else 0.0 for one in several] for name, several in found.items()}
    rows = [
        share | {"by_model": {name: _clustered(several) for name, several in found.items()}},
        longest | {"by_model": {name: mean(several).to_json() for name, several in lengths.items()}},
    ]
    for old, new in itertools.pairwise(writer.name for writer in writers[:-1]):
        for head, values in ((share, shares), (longest, lengths)):
            change = paired_difference(values[old], values[new]).to_json()
            rows.append(head | {"before": old, "after": new, "estimate": change})
    return rows


def _clustered(found: Sequence[Sequence[bool]]) -> dict[str, Any] | None:
    values = [float(one) for several in found for one in several]
    clusters = [index for index, several in enumerate(found) for _ in several]
    return clustered_proportion(values, clusters).to_json() if values else None


def _head(metric: str, title: str, unit: Unit) -> Row:
    return {"metric": metric, "title": title, "unit": unit, "group": "all", "sampled": False}


def _examples(
    writers: Sequence[Writer], passages: Sequence[Passage], judged: dict[str, list[bool]], num_random: int, seed: int
) -> Row:
    count = len(passages)
    drawn = sorted(random.Random(seed).sample(range(count), min(num_random, count)))
    items = [
        {
            "id": f"passage {index + 1} of {count}",
            "kind": "",
            "chosen": "drawn at random",
            "prompt": [{"role": "text", "content": passages[index].opening.strip() or "(the beginning)"}],
            "answers": [
                {
                    "model": writer.name,
                    "text": writer.samples[index].strip("\n"),
                    "checks": {"in the style": judged[writer.name][index]},
                    "explanation": "",
                    "score": None,
                    "stopped": True,
                }
                for writer in writers
            ],
        }
        for index in drawn
    ]
    rule = (
        f"{len(drawn)} of {count} passages were drawn at random (seed {seed}). Each model wrote on from what is "
        f"printed in bold, the last of what comes before the passage. Beside it is what really follows; all are cut to "
        f"{STRETCH} characters."
    )
    return {"rule": rule, "worse": 0, "items": items}
