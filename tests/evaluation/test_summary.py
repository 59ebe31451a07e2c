from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.world import completion, evaluation, prompt, scored_comparisons

from trimtab.errors import DataError
from trimtab.evaluation.outputs import ModelOutputs
from trimtab.evaluation.statistics import Estimate
from trimtab.evaluation.summary import Judge, ScoredComparisons, evaluate
from trimtab.evaluation.table import before_after_table
from trimtab.evaluation.tasks.truth_checks import truth_task
from trimtab.evaluation.tasks.vote_accuracy import accuracy_by_annotator
from trimtab.types import Comparison

TRUTH = {"word": {"contains": "yes"}, "length": {"max_words": 3}}


def model(name: str, answers: list[str], scores: list[list[float]], finish: str = "stop") -> ModelOutputs:
    return ModelOutputs(
        name,
        greedy=[completion(text, finish_reason=finish) for text in answers],
        greedy_scores=[row[0] for row in scores],
        sampled=[[completion(text) for _ in row] for text, row in zip(answers, scores, strict=True)],
        sampled_scores=scores,
    )


def small() -> dict[str, Any]:
    prompts = [prompt(f"q{i}", id=f"id-{i}", kind="a" if i < 2 else "b", truth=TRUTH) for i in range(4)]
    base = model("base", ["no", "no", "yes", "no"], [[0.0, 0.0]] * 4, "length")
    sft = model("sft", ["yes", "yes", "yes", "no"], [[1.0, 2.0]] * 4)
    policy = model("policy", ["yes", "no", "yes", "yes and so on"], [[2.0, 3.0], [3.0, 3.0], [0.0, 1.0], [2.0, 2.0]])
    return evaluate([base, sft, policy], prompts, seed=1)


def metric(found: Mapping[str, Any], name: str, group: str = "all") -> dict[str, Any]:
    row = next(row for row in found["metrics"] if (row["metric"], row["group"]) == (name, group))
    return {model: estimate and estimate["value"] for model, estimate in row["by_model"].items()}


def change(found: Mapping[str, Any], name: str, before: str, after: str, group: str = "all") -> dict[str, Any]:
    wanted = (name, group, before, after)
    return next(r for r in found["differences"] if (r["metric"], r["group"], r["before"], r["after"]) == wanted)


def test_shares_and_means_by_model_and_group() -> None:
    found = small()
    assert found["groups"] == {"all": 4, "a": 2, "b": 2}
    assert metric(found, "pass") == {"base": 0.25, "sft": 0.75, "policy": 0.5}
    assert metric(found, "pass", "a") == {"base": 0.0, "sft": 1.0, "policy": 0.5}
    assert metric(found, "check:word")["policy"] == 0.75
    assert metric(found, "check:length")["policy"] == 0.75
    assert metric(found, "score") == {"base": 0.0, "sft": 1.5, "policy": 2.0}
    assert metric(found, "stopped") == {"base": 0.0, "sft": 1.0, "policy": 1.0}


def test_several_answers_to_a_prompt_count_as_one_unit() -> None:
    row = next(row for row in small()["metrics"] if (row["metric"], row["group"]) == ("score", "all"))
    # Every prompt's answers score 1 and 2: prompts do not differ at all, and there are four of them, not eight.
    assert row["by_model"]["sft"] == row["by_model"]["sft"] | {"value": 1.5, "low": 1.5, "high": 1.5, "n": 4}


def test_differences_are_paired_between_neighbours_and_of_the_whole_training() -> None:
    found = small()
    assert {(row["before"], row["after"]) for row in found["differences"]} == {
        ("base", "sft"),
        ("sft", "policy"),
        ("base", "policy"),
    }
    passed = change(found, "pass", "base", "sft")
    assert passed["estimate"]["value"] == 0.5
    assert (passed["mcnemar"]["only_before"], passed["mcnemar"]["only_after"]) == (0, 2)
    # By prompt, policy minus sft: 1, 1.5, -1, 0.5. Mean 0.5; sum of squares about it 3.5; t(3) sqrt(3.5/12) = 1.71869.
    score = change(found, "score", "sft", "policy")["estimate"]
    assert score["value"] == pytest.approx(0.5)
    assert score["low"] == pytest.approx(0.5 - 1.71871, abs=1e-4)
    assert score["n"] == 4


def test_win_rate_is_the_last_model_against_the_one_before() -> None:
    win = small()["win_rate"]
    # Against scores 1 and 2: (2, 3) wins 3 ties 1; (3, 3) wins 4; (0, 1) ties 1 loses 3; (2, 2) wins 2 ties 2.
    assert (win["before"], win["after"]) == ("sft", "policy")
    assert (win["won"], win["tied"]) == (9 / 16, 4 / 16)
    assert win["estimate"]["value"] == pytest.approx(11 / 16)


def test_it_says_who_judged_and_what_the_models_were_trained_on() -> None:
    assert (small()["judge"], small()["trained_on_checks"]) == (None, [])
    prompts = [prompt("a", truth=TRUTH), prompt("b", truth=TRUTH)]
    models = [model(name, ["yes", "no"], [[0.0], [1.0]]) for name in ("base", "ppo", "dpo")]
    found = evaluate(models, prompts, judge=Judge("reward", "ppo"), trained_on_checks=["dpo"], seed=1)
    assert found["judge"] == {"name": "reward", "trained": "ppo"}
    assert found["trained_on_checks"] == ["dpo"]
    # The last two are compared, and the first of them was trained to please the judge.
    assert "not an independent judge" in found["win_rate"]["note"]
    free = evaluate(models, prompts, judge=Judge("reward"), seed=1)
    assert "no model here was trained to please" in free["win_rate"]["note"]


def test_a_check_counts_the_prompts_that_have_it() -> None:
    prompts = [prompt("a", truth=TRUTH), prompt("b", truth={"length": {"max_words": 1}})]
    found = evaluate([model("m", ["yes", "yes"], [[0.0], [0.0]])], prompts, seed=1)
    row = next(row for row in found["metrics"] if row["metric"] == "check:word")
    assert row["by_model"]["m"]["n"] == 1


def test_greedy_answers_alone_are_enough() -> None:
    only = ModelOutputs("m", [completion("yes")])
    found = evaluate([only], [prompt("a")], seed=1)
    assert [row["metric"] for row in found["metrics"]] == ["answered", "stopped", "length"]
    assert found["win_rate"] is None
    assert found["reward_model"] is None
    assert found["differences"] == found["verdicts"] == []


def test_the_result_is_json_and_the_same_each_time() -> None:
    found = evaluation()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert evaluation() == found


def test_reward_model_accuracy_is_part_of_the_result() -> None:
    found = evaluation()["reward_model"]
    scored = scored_comparisons()
    right = sum(a > b for a, b in zip(scored.chosen, scored.rejected, strict=True))
    assert found["accuracy"]["value"] == pytest.approx(right / len(scored.chosen))
    assert found["accuracy"]["n"] == 45
    assert found["ceiling"]["n"] > 0
    assert [*found["by_agreement"]] == ["unanimous", "majority", "one vote"]
    assert found["by_annotator"] == {}  # the votes have no names


def test_accuracy_by_annotator_is_part_of_the_result() -> None:
    scored = scored_comparisons()
    named = [replace(one, annotators=("ann", "bo", "cy")[: len(one.votes)]) for one in scored.comparisons]
    prompts = [prompt("a", truth=TRUTH)]
    models = [model("m", ["yes"], [[0.0]])]
    judged = replace(scored, comparisons=named)
    found = evaluate(models, prompts, scored=judged, judge=Judge("reward"), seed=1)["reward_model"]
    by_name = {name: Estimate.from_json(one).value for name, one in found["by_annotator"].items()}
    assert by_name == {
        name: one.value for name, one in accuracy_by_annotator(named, scored.chosen, scored.rejected).items()
    }
    assert [*by_name] == ["ann", "bo", "cy"]


def test_outputs_that_do_not_match_are_refused() -> None:
    prompts = [prompt("a", truth=TRUTH), prompt("b", truth=TRUTH)]
    good = model("m", ["yes", "yes"], [[0.0], [0.0]])
    with pytest.raises(DataError, match="m has 1 outputs for 2 prompts"):
        evaluate([replace(good, greedy=good.greedy[:1])], prompts, seed=1)
    with pytest.raises(DataError, match="m has 1 outputs for 2 prompts"):
        evaluate([replace(good, sampled_scores=good.sampled_scores[:1])], prompts, seed=1)
    with pytest.raises(DataError, match="different names"):
        evaluate([good, good], prompts, seed=1)
    with pytest.raises(DataError, match="no held-out prompts"):
        evaluate([good], [], seed=1)


def test_examples_are_drawn_at_random_and_the_largest_losses_are_shown() -> None:
    prompts = [prompt(f"q{i}", id=f"id-{i}", truth=TRUTH) for i in range(30)]
    before = model("sft", ["yes"] * 30, [[1.0]] * 30)
    # Prompt 3 loses both checks, prompt 7 one, prompt 11 only score.
    answers = ["yes"] * 30
    answers[3], answers[7] = "no no no no", "no"
    scores = [[1.0 if index != 11 else 0.5] for index in range(30)]
    found = evaluate([before, model("policy", answers, scores)], prompts, num_random=4, num_losses=2, seed=6)[
        "examples"
    ]
    chosen = [(item["id"], item["chosen"]) for item in found["items"]]
    drawn = [name for name, why in chosen if why == "drawn at random"]
    losses = [name for name, why in chosen if why == "one of the largest losses"]
    assert len(set(drawn)) == 4
    assert losses == [name for name in ("id-3", "id-7", "id-11") if name not in drawn][:2]
    assert found["worse"] == 3
    assert "4 of 30 prompts were drawn at random (seed 6)" in found["rule"]
    assert "On 3 of 30 prompts policy did worse than sft" in found["rule"]
    answer = next(item for item in found["items"] if item["id"] == losses[0])["answers"][1]
    assert answer["checks"] == {"word": False, "length": False}


def test_the_terminal_table_has_a_row_a_metric() -> None:
    found = small()
    table = before_after_table(found)
    assert table.header == ("Measure", "n", "base", "sft", "policy", "policy minus sft")
    assert all(len(row) == len(table.header) for row in table.rows)
    assert table.rows[0][:2] == ("Answers that pass every check", "4")
    assert table.rows[0][2].startswith("25 % (")
    assert table.rows[0][5].startswith("−25 points (")
    assert not any("“" in row[0] for row in table.rows)
    assert any("“word” (a)" in row[0] for row in before_after_table(found, every_check=True).rows)


def test_the_bundled_prompts_have_checks_that_can_be_read() -> None:
    path = Path(__file__).parents[2] / "examples" / "expense_desk" / "prompts.heldout.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    task = truth_task([prompt(row["prompt"][0]["content"], id=row["id"], truth=row["truth"]) for row in rows])
    assert len(task.samples) == len(rows) >= 60


def test_a_reward_model_is_measured_by_groups_of_annotators() -> None:
    pairs = [Comparison(prompt(f"p{n}"), "a", "b", 1.0, annotators=(f"w{n}",), votes=(1.0,)) for n in range(12)]
    said = {f"w{n}": {"age": "old" if n < 6 else "young"} for n in range(12)}
    scored = ScoredComparisons(pairs, [1.0] * 6 + [0.0] * 6, [0.0] * 6 + [1.0] * 6, said)
    models = [model("base", ["yes"], [[1.0]])]

    def by_group(scored: ScoredComparisons) -> Any:
        return evaluate(models, [prompt("p")], scored=scored, judge=Judge("judge"), seed=0)["reward_model"]["by_group"]

    assert {value: one["value"] for value, one in by_group(scored)["age"].items()} == {"old": 1.0, "young": 0.0}
    assert by_group(replace(scored, attributes={})) == {}
