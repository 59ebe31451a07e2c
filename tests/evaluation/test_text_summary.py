"""An evaluation on held-out text: its numbers by hand, its verdicts, and how the report tells of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.test_report import Page
from tests.evaluation.world import write_stage
from tests.models.plain import plain_logprobs
from tests.training.world import tiny_policy

from trimtab.data.passages import Passage
from trimtab.data.text_tokens import TextTokens
from trimtab.evaluation.bootstrap import bootstrap
from trimtab.evaluation.report.build import report_content
from trimtab.evaluation.report.render import render
from trimtab.evaluation.statistics import Estimate
from trimtab.evaluation.style import StyleClassifier
from trimtab.evaluation.text_loss import passage_losses
from trimtab.evaluation.text_summary import THE_TEXT, Writer, evaluate_text

STYLED, PLAIN = "thou art, thou wert, thou wilt be", "it is what it is and was what it was"
CLASSIFIER = StyleClassifier.fit([STYLED], [PLAIN])
PASSAGES = [Passage(f"before {number}", "é" * 50) for number in range(20)]  # 100 bytes each
FRESH, COPIED = [0] * 12, [0, 0, 0, *range(4, 13)]  # 12 words: 5 runs of 8, of which none or all are in the text


def writers(styled: int = 16, copying: int = 0) -> list[Writer]:
    """The base needs 200 nats in 50 tokens for half of the passages and 100 for the others, the tuned model half."""
    nats = [200.0, 100.0] * 10
    return [
        Writer("base", [PLAIN] * 20, [FRESH] * 20, "", nats, [50] * 20),
        Writer(
            "tuned",
            [STYLED] * styled + [PLAIN] * (20 - styled),
            [COPIED] * copying + [FRESH] * (20 - copying),
            "text_tuning",
            [one / 2 for one in nats],
            [50] * 20,
        ),
        Writer(THE_TEXT, [STYLED] * 19 + [PLAIN], [FRESH] * 20, "text"),
    ]


def evaluated(**changes: int) -> dict[str, Any]:
    found = evaluate_text(writers(**changes), PASSAGES, CLASSIFIER, num_random=2, seed=1)
    return json.loads(json.dumps(found, allow_nan=False))


def metric(found: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = (row for row in found["metrics"] if row["metric"] == name)
    return row["by_model"]


def change(found: dict[str, Any], name: str) -> Estimate:
    (row,) = (row for row in found["differences"] if row["metric"] == name)
    assert (row["before"], row["after"]) == ("base", "tuned")
    return Estimate.from_json(row["estimate"])


def test_bits_to_a_byte_and_perplexity() -> None:
    """3000 nats for 1000 tokens and 2000 bytes: e^3 by token, 1.5 / ln 2 bits by byte; the tuned model half of it."""
    found = evaluated()
    bits, perplexity = metric(found, "bits_per_byte"), metric(found, "perplexity")
    assert bits["base"]["value"] == pytest.approx(1.5 / math.log(2))
    assert bits["tuned"]["value"] == pytest.approx(0.75 / math.log(2))
    assert perplexity["base"]["value"] == pytest.approx(math.exp(3))
    assert perplexity["tuned"]["value"] == pytest.approx(math.exp(1.5))
    assert bits["base"]["n"] == 20
    assert bits[THE_TEXT] is perplexity[THE_TEXT] is None
    assert change(found, "bits_per_byte").value == pytest.approx(-0.75 / math.log(2))
    assert change(found, "perplexity").value == pytest.approx(math.exp(1.5) - math.exp(3))


def test_intervals_are_over_passages_and_paired() -> None:
    """Nats a byte are 2 or 1, evenly: their mean has the deviation 0.5 / sqrt(20), and so the interval ±1.96 of it."""
    found = evaluated()
    base, half = metric(found, "bits_per_byte")["base"], 1.96 * 0.5 / math.sqrt(20) / math.log(2)
    assert base["high"] - base["value"] == pytest.approx(half, rel=0.15)
    assert base["value"] - base["low"] == pytest.approx(half, rel=0.15)
    paired = change(found, "bits_per_byte")
    assert paired.high - paired.low == pytest.approx(half, rel=0.15)  # of half the numbers; unpaired it were 2.24 times
    assert paired.high < 0


def test_a_ratio_is_resampled_as_a_ratio() -> None:
    """Passages of different length: the mean of ratios would be another number."""
    nats, sizes = np.array([10.0, 300.0]), np.array([10.0, 100.0])
    found = bootstrap(lambda w: float(w @ nats / (w @ sizes)), np.ones(2), "bootstrap", 0)
    assert found.value == pytest.approx(310 / 110)
    assert (found.low, found.high) == pytest.approx((1.0, 3.0))  # twice the one or twice the other


def test_shares_of_style_and_of_copied_runs() -> None:
    found = evaluated(styled=16, copying=3)
    style, share, longest = (metric(found, name) for name in ("style", "copied", "longest"))
    assert [style[name]["value"] for name in ("base", "tuned", THE_TEXT)] == pytest.approx([0.0, 0.8, 0.95])
    assert change(found, "style").value == pytest.approx(0.8)
    assert [share[name]["value"] for name in ("base", "tuned", THE_TEXT)] == pytest.approx([0.0, 3 / 20, 0.0])
    assert change(found, "copied").value == pytest.approx(3 / 20)
    assert longest["tuned"]["value"] == pytest.approx(3 * 12 / 20)
    # 39 of 40 right: the text 19 times, the base model's samples all 20
    assert found["style_classifier"]["accuracy"]["value"] == pytest.approx(39 / 40)
    assert found["style_classifier"]["accuracy"]["n"] == 20
    assert found["style_classifier"]["right_on_text"]["value"] == pytest.approx(19 / 20)
    assert found["style_classifier"]["right_on_base"]["value"] == pytest.approx(1.0)


def test_samples_too_short_for_a_run_say_nothing_of_copying() -> None:
    short = [Writer(w.name, w.samples, [[0, 0]] * 20, w.kind, w.nats, w.tokens) for w in writers()]
    found = evaluate_text(short, PASSAGES, CLASSIFIER, num_random=0, seed=1)
    assert metric(found, "copied") == {"base": None, "tuned": None, THE_TEXT: None}
    assert [one["outcome"] for one in found["verdicts"]][-1] == "open"


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, ["met", "met", "met", "open"]),  # none of 20 passages copies, which leaves up to 16 % possible
        ({"styled": 0}, ["met", "met", "open", "open"]),
        ({"copying": 8}, ["met", "met", "met", "not met"]),
    ],
)
def test_verdicts(changes: dict[str, int], outcomes: list[str]) -> None:
    """Of the classifier, of foreseeing, of the style, of copying."""
    assert [one["outcome"] for one in evaluated(**changes)["verdicts"]] == outcomes


def test_a_difference_that_may_be_none_leaves_the_verdict_open() -> None:
    """Twice the nats on half of the passages, half of them on the others."""
    base, tuned, text = writers()
    even = Writer("tuned", tuned.samples, tuned.runs, tuned.kind, [100.0, 200.0] * 10, tuned.tokens)
    found = evaluate_text([base, even, text], PASSAGES, CLASSIFIER, num_random=0, seed=1)
    assert change(found, "bits_per_byte").value == pytest.approx(0)
    assert found["verdicts"][1]["outcome"] == "open"


def test_examples_are_drawn_at_random_and_show_every_writer() -> None:
    examples = evaluated()["examples"]
    assert [item["chosen"] for item in examples["items"]] == ["drawn at random"] * 2
    assert [answer["model"] for answer in examples["items"][0]["answers"]] == ["base", "tuned", THE_TEXT]
    assert examples["items"][0]["answers"][0]["checks"] == {"in the style": False}


def test_the_loss_of_a_passage_is_that_of_its_own_tokens_given_what_comes_before() -> None:
    policy = tiny_policy()
    tokens = TextTokens(policy.tokenizer)
    given = [Passage("Coffee with", " the client\n"), Passage("", "No."), Passage("the quick\n", "brown fox " * 9)]
    nats, lengths = passage_losses(policy, tokens, given)
    for passage, loss, length in zip(given, nats, lengths, strict=True):
        context, ids = [tokens.start_id, *tokens.encode(passage.before)], tokens.encode(passage.text)
        with torch.no_grad():
            expected = -plain_logprobs(policy.model, context, ids).sum().item()
        assert loss == pytest.approx(expected, abs=1e-3)
        assert length == len(ids)


def test_the_report_tells_of_a_text(tmp_path: Path) -> None:
    steps = [{"step": step, "sft/loss": 4 - step / 10, "optim/grad_norm": 1.0} for step in range(1, 11)]
    config = {"model": "base", "data": "plays.txt", "held_out": 0.1, "batch_size": 8, "max_length": 256}
    summary = {"rows": 9, "tokens": 2300, "characters": 9000, "held_out_characters": 1000}
    tuned = write_stage(tmp_path, "tuned", "text_tuning", config, summary=summary, seconds=5.0, metrics=steps)
    held_out = write_stage(tmp_path, "held_out", "text_evaluation", {}, summary={}, seconds=5.0)
    (held_out / "evaluation.json").write_text(json.dumps(evaluated()))
    report = report_content(
        [tuned, held_out], title="Plays", recipe="plays", date="today", machine={}, command="trimtab run", repeat={}
    )
    words = Page(render(report)).words
    for said in (
        "Samples judged to be in the style of the text: 0 % for base, 80 % for tuned. Measured on 20 passages",
        "Learning from a text",
        "It had 9,000 characters to learn from (2,300 tokens;",
        "took 10 steps of 8 rows of 256 tokens.",
        "Bits to a byte of held-out text; fewer are better: tuned minus base",
        "The style classifier is right on 98 %",
        "✗ in the style",
        "not at meaning",
    ):
        assert said in words
    assert "requests together with good answers" not in words
    assert "number of prompts" not in words
