"""`trimtab compare`: answers that two runs kept, paired by prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.cli.world import CommandLine, write_whole_recipe

from trimtab.evaluation.answers_file import write_answers
from trimtab.evaluation.outputs import ModelOutputs
from trimtab.pipeline.artifacts import ANSWERS, Record, partial_folder, publish
from trimtab.types import Completion, Message, Prompt


def answered(name: str, texts: Sequence[str], first: int = 0) -> ModelOutputs:
    """Answers to prompts that want the word yes, from number `first` on."""
    greedy = [
        Completion(
            Prompt((Message("user", f"question {n}"),), {"id": f"q{n}", "truth": {"says yes": {"contains": "yes"}}}),
            text, (1,) * len(text), (0.0,) * len(text), "stop",
        )
        for n, text in enumerate(texts, start=first)
    ]  # fmt: skip
    return ModelOutputs(name, greedy, greedy_scores=[9.0] * len(greedy))


def keep(store: Path, *outputs: ModelOutputs) -> None:
    folder = store / "evaluation-0123"
    partial_folder(folder).mkdir(parents=True)
    write_answers(outputs, partial_folder(folder) / ANSWERS)
    publish(folder, Record("evaluation", "evaluation", "0123", {}, {}, 1.0, {}, {}, {}, "2026-01-01T00:00:00"))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    keep(tmp_path / "people", answered("base", ["no"] * 4), answered("policy", ["yes", "no", "no", "yes"]))
    keep(tmp_path / "machine", answered("policy", ["yes", "yes", "no, no", "yes"], first=1))
    return tmp_path


def test_differences_are_paired_on_the_prompts_that_both_were_asked(trimtab: CommandLine, runs: Path) -> None:
    """Of questions 1, 2, 3 the first says yes to the last one and the second to the first two."""
    found = json.loads(trimtab("compare", "people", "machine", "--json").out)
    assert found["models"] == ["people/policy", "machine/policy"]
    passed = next(row for row in found["differences"] if row["metric"] == "pass")
    assert passed["estimate"]["n"] == 3
    assert passed["estimate"]["value"] == pytest.approx(1 / 3)
    assert "score" not in {row["metric"] for row in found["metrics"]}  # of two runs, so of two scales
    shown = trimtab("compare", "people/base", "machine/policy")
    assert "3 prompts were asked of both (people/base 4, machine/policy 4); the others are left out." in shown.err
    assert "machine/policy minus people/base" in " ".join(shown.out.split())
    assert "+67 points" in shown.out


def test_a_scorer_scores_both(trimtab: CommandLine, runs: Path) -> None:
    recipe = write_whole_recipe(runs)
    assert trimtab("run", recipe, "--until", "reward_model", "--store", "store").code == 0
    found = json.loads(trimtab("compare", "people", "machine", "--scorer", "store/reward_model", "--json").out)
    assert found["judge"] == {"name": "store/reward_model", "trained": ""}
    (score,) = [row for row in found["differences"] if row["metric"] == "score"]
    assert score["estimate"]["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "people"), "no evaluation of nowhere is kept"),
        (("people/polcy", "people"), "people evaluated base, policy, and no 'polcy'; did you mean policy?"),
        (("people", "machine", "--scorer", "people"), "people is no reward model"),
    ],
)
def test_mistakes_are_told(trimtab: CommandLine, runs: Path, arguments: tuple[str, ...], told: str) -> None:
    ended = trimtab("compare", *arguments)
    assert (ended.code, told in ended.err) == (1, True)


def test_other_prompts_cannot_be_paired(trimtab: CommandLine, runs: Path) -> None:
    keep(runs / "other", answered("policy", ["yes"], first=70))
    assert "were asked different prompts" in trimtab("compare", "people", "other").err
