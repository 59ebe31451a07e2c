from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.feedback.world import write_constitution
from tests.training.world import tiny_policy

from trimtab.config import load_recipe
from trimtab.config.load import Recipe
from trimtab.errors import DataError, Interrupted, ModelError, RecipeError
from trimtab.feedback.injections import injection_set
from trimtab.feedback.judge import Judgement, Pair, Vote
from trimtab.pipeline import judges
from trimtab.pipeline.artifacts import read_artifact
from trimtab.pipeline.judges import measure_judge
from trimtab.pipeline.kept_judgements import judge_and_keep
from trimtab.pipeline.runner import run
from trimtab.types import Comparison, Message, Prompt

RECIPE = """\
seed: 5
stages:
  scorer: {kind: reward_model, model: model, data: comparisons.jsonl, prompts_per_step: 4}
  labels: {kind: judge, model: model, data: prompts.jsonl, judge: %s, trusted: trusted.jsonl, max_new_tokens: 6, %s}
  reward_model: {model: model, data: [labels, comparisons.jsonl], prompts_per_step: 4}
runtime: {threads: 1, precision: fp32}
"""


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(folder: Path, judge: str, settings: str = "temperature: 1.5") -> Recipe:
    folder.mkdir(exist_ok=True)
    tiny_policy(longest=2048).save(folder / "model")
    write_constitution(folder)
    pair = {"chosen": "Approved.", "rejected": "Refused."}
    write(folder / "comparisons.jsonl", [{"prompt": f"question {n}", **pair} for n in range(8)])
    write(folder / "trusted.jsonl", [{"prompt": f"other question {n}", **pair} for n in range(8)])
    write(folder / "prompts.jsonl", [{"prompt": f"question {n}"} for n in range(9)])
    path = folder / "recipe.yaml"
    path.write_text(RECIPE % (judge, settings))
    return load_recipe(path)


def made(folder: Path, name: str) -> Path:
    (record,) = folder.glob(f"store/{name}-*/artifact.json")
    return record.parent


@pytest.mark.parametrize("judge", ["scorer", "model"])
def test_ai_labels_are_soft_and_are_learnt_from(tmp_path: Path, judge: str) -> None:
    settings = "temperature: 1.5" if judge == "scorer" else "constitution: constitution.yaml, ask: all, least_mass: 0"
    run(recipe(tmp_path, judge, settings), tmp_path / "store")
    rows = [json.loads(line) for line in (made(tmp_path, "labels") / "data.jsonl").read_text().splitlines()]
    assert 0 < len(rows) <= 9
    assert all(0.5 <= row["probability"] < 1 for row in rows)
    assert {tuple(row["annotators"]) for row in rows} == {(f"model:{judge}",)}
    assert len({row["instructions_version"] for row in rows}) == 1
    summary = read_artifact(made(tmp_path, "labels")).record.summary
    assert summary["comparisons"] == len(rows)
    assert summary["trusted"]["comparisons"] == 8
    assert (summary["trusted"]["front"] is None) == (judge == "scorer")
    learnt = read_artifact(made(tmp_path, "reward_model")).record.summary
    assert learnt["comparisons"] == len(rows) + 8


def test_a_judge_that_only_guesses_is_told_of(tmp_path: Path) -> None:
    class Reporter:
        said: list[str] = []  # noqa: RUF012

        def told(self, message: str) -> None:
            self.said.append(message)

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

    # the tiny model knows nothing: whatever it prefers, eight comparisons cannot tell it from a coin, or it is wrong
    run(recipe(tmp_path, "model", "least_mass: 0"), tmp_path / "store", reporter=Reporter())  # type: ignore[arg-type]
    trusted = read_artifact(made(tmp_path, "labels")).record.summary["trusted"]
    assert trusted["beats_chance"] != any("does not beat guessing" in message for message in Reporter.said)


def test_a_judge_that_never_answers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the judge model labelled none of \d pairs: malformed"):
        run(recipe(tmp_path, "model", "least_mass: 0.9"), tmp_path / "store")


def test_a_reward_model_takes_no_instructions(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="scorer is a reward model, which reads no instructions"):
        run(recipe(tmp_path, "scorer", "constitution: constitution.yaml"), tmp_path / "store")


def test_a_reward_models_folder_judges_as_its_stage_does(tmp_path: Path) -> None:
    run(recipe(tmp_path, "scorer"), tmp_path / "store")
    folder = made(tmp_path, "scorer")
    of_stage, of_folder = made(tmp_path, "labels"), tmp_path / "elsewhere"
    run(recipe(tmp_path, str(folder)), of_folder)
    (record,) = of_folder.glob("labels-*/artifact.json")
    mine, theirs = (
        [json.loads(line) for line in (one / "data.jsonl").read_text().splitlines()]
        for one in (record.parent, of_stage)
    )
    assert [row["probability"] for row in mine] == [row["probability"] for row in theirs]
    (version,) = {row["instructions_version"] for row in mine}
    assert len(version) == 12
    assert version != theirs[0]["instructions_version"]  # the files say what they are; of a stage its key does


def test_measuring_shows_every_other_pair_the_other_way_round() -> None:
    trusted = [Comparison(Prompt((Message("user", str(n)),)), "good", "bad") for n in range(4)]
    seen: list[str] = []

    def judge(pairs: list[Pair]) -> list[Judgement]:
        seen.extend(pair.first for pair in pairs)
        # it sees which is good, more so in front: P(good) is 0.9 in front and 0.6 behind
        return [
            Judgement(
                p := (0.75 if pair.first == "good" else 0.25),
                "",
                (Vote("q", 0.9, 0.6, 1.0) if p > 0.5 else Vote("q", 0.4, 0.1, 1.0),),
            )
            for pair in pairs
        ]

    report = measure_judge(judge, trusted)  # type: ignore[arg-type]
    assert seen == ["good", "bad", "good", "bad"]
    assert report.accuracy is not None
    assert report.accuracy.value == 1.0
    assert report.front is not None
    assert report.front.value == pytest.approx((0.9 + 0.4) / 2)
    assert report.steady is not None
    assert report.steady.value == 1.0


@pytest.mark.parametrize("method", ["grpo", "ppo", "ppo, adapter: null"])
def test_a_grader_is_a_reward(tmp_path: Path, method: str) -> None:
    recipe(tmp_path, "model")
    (tmp_path / "rubric.md").write_text("Short answers are good.")
    stage = (
        f"policy: {{kind: {method}, model: model, grader: model, rubric: rubric.md, data: prompts.jsonl, num_steps: 2, "
        "prompts_per_step: 2, group_size: 3, max_new_tokens: 6, learning_rate: 1e-2}"
    )
    path = tmp_path / "direct.yaml"
    path.write_text(f"stages:\n  {stage}\nruntime: {{threads: 1, precision: fp32}}\n")
    run(load_recipe(path), tmp_path / "store")
    log = [json.loads(line) for line in (made(tmp_path, "policy") / "metrics.jsonl").read_text().splitlines()]
    assert len(log) == 2
    # the grader knows nothing, but it is no constant, and it stays as it was while the policy moves
    assert all(1 <= line["score/mean"] <= 5 and line["score/std"] > 0 for line in log)
    if method != "grpo":
        assert all(line["optim/value_grad_norm"] > 0 for line in log)
    for wrong, said in (
        ("reward_model: scorer", "one of reward_model, grader and endpoint"),
        ("rubric: null", "a grader goes by a rubric"),
        ("grader: null", "a grader goes by a rubric"),
    ):
        setting, value = wrong.split(": ")
        with pytest.raises(RecipeError, match=said):
            load_recipe(path, [f"policy.{setting}={value}"])


def test_ppo_needs_something_that_scores(tmp_path: Path) -> None:
    recipe(tmp_path, "model")
    path = tmp_path / "none.yaml"
    path.write_text("stages:\n  policy: {kind: ppo, model: model, data: prompts.jsonl}\n")
    with pytest.raises(RecipeError, match="say what scores responses: reward_model, or grader and rubric"):
        load_recipe(path)


def test_responses_that_are_there_already_are_judged(tmp_path: Path) -> None:
    recipe(tmp_path, "scorer")
    labels = "labels: {kind: judge, data: comparisons.jsonl, judge: scorer, num_prompts: 5}"
    path = tmp_path / "there.yaml"
    path.write_text("seed: 5\nstages:\n" + f"  {labels}\n" + RECIPE.splitlines()[2] + "\n")
    run(load_recipe(path), tmp_path / "store")
    rows = [json.loads(line) for line in (made(tmp_path, "labels") / "data.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    assert all(
        {row[side][0]["content"] for side in ("chosen", "rejected")} == {"Approved.", "Refused."} for row in rows
    )
    assert all(0.5 <= row["probability"] < 1 for row in rows)  # the judge's word, not the file's 1.0


def test_answers_that_were_cut_can_be_left_out(tmp_path: Path) -> None:
    """The tiny model ends none of its answers in six tokens."""
    with pytest.raises(DataError, match="labelled none of 0 pairs"):
        run(recipe(tmp_path, "scorer", "finished_only: true"), tmp_path / "store")
    assert not (list(tmp_path.glob("store/labels-*/data.jsonl")))


class Stopping:
    """A run's context as far as judging needs it, which is asked to stop after some blocks."""

    def __init__(self, state: Path, blocks: int = 10**6) -> None:
        self.state, self.blocks = state, blocks

    def stop_requested(self) -> bool:
        self.blocks -= 1
        return self.blocks < 0

    def progress(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("torn", ["", '[{"probability": 0.7, "why'])
def test_what_was_judged_is_not_judged_again(tmp_path: Path, torn: str) -> None:
    pairs = [Pair(Prompt((Message("user", str(n)),)), "good", "bad") for n in range(75)]
    asked: list[int] = []

    def judge(several: Sequence[Pair]) -> list[Judgement]:
        asked.extend(int(one.prompt.messages[0].content) for one in several)
        numbers = [int(one.prompt.messages[0].content) for one in several]
        return [Judgement(n / 75 or None, "" if n else "malformed", (Vote("q", None, 1 / 3, 0.1),)) for n in numbers]

    with pytest.raises(Interrupted, match="stopped after 32 of 75 pairs"):
        judge_and_keep(judge, pairs, "pairs", Stopping(tmp_path, 1))  # type: ignore[arg-type]
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write(torn)
    found = judge_and_keep(judge, pairs, "pairs", Stopping(tmp_path))  # type: ignore[arg-type]
    assert asked == list(range(75))
    assert found == judge(pairs)
    again = judge_and_keep(judge, pairs, "pairs", Stopping(tmp_path, 0))  # type: ignore[arg-type]
    assert again == found


def test_a_killed_stage_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.pipeline.kept_judgements.PAIRS_AT_ONCE", 2)
    settings = "constitution: constitution.yaml, least_mass: 0, temperature: 1.5"
    run(recipe(tmp_path / "whole", "model", settings), tmp_path / "whole" / "store")
    calls = 0

    def kill(*args: Any, **kwargs: Any) -> list[Judgement]:
        nonlocal calls
        calls += 1
        if calls == 6:  # after four blocks of trusted comparisons and one of pairs
            raise KeyboardInterrupt
        return by_the_book(*args, **kwargs)

    by_the_book = judges.judge
    monkeypatch.setattr(judges, "judge", kill)
    with pytest.raises(KeyboardInterrupt):
        run(recipe(tmp_path / "killed", "model", settings), tmp_path / "killed" / "store")
    run(recipe(tmp_path / "killed", "model", settings), tmp_path / "killed" / "store")
    assert calls == 6 + 4  # of nine pairs one block was kept; four are left
    for name in ("data.jsonl", "judge.json"):
        one, two = ((made(tmp_path / folder, "labels") / name).read_bytes() for folder in ("whole", "killed"))
        assert one == two


def test_of_more_than_two_answers_all_pairs_are_judged(tmp_path: Path) -> None:
    run(recipe(tmp_path, "scorer", "temperature: 1.5, group_size: 3"), tmp_path / "store")
    summary = read_artifact(made(tmp_path, "labels")).record.summary
    assert summary["pairs"] > 9
    assert read_artifact(made(tmp_path, "reward_model")).record.summary["prompts"] <= 9


def test_a_reward_model_scores_each_answer_once_and_judges_by_the_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    worth = {"a": 1.0, "b": 0.0, "c": -2.0}
    scored: list[tuple[str, str]] = []

    def scores(_: object, __: object, answered: Sequence[tuple[Prompt, Sequence[str]]]) -> list[list[float]]:
        scored.extend((prompt.messages[0].content, text) for prompt, texts in answered for text in texts)
        turned = {"one": 1, "two": -1}  # what is good for one request is bad for the other
        return [[turned[prompt.messages[0].content] * worth[text] for text in texts] for prompt, texts in answered]

    monkeypatch.setattr(judges, "score_texts", scores)
    one, two = (Prompt((Message("user", text),)) for text in ("one", "two"))
    pairs = [Pair(one, "a", "b"), Pair(one, "b", "c"), Pair(two, "a", "c"), Pair(one, "c", "a"), Pair(one, "b", "b")]
    found = judges.by_scores(None, None, undecided=0.0)(pairs)  # type: ignore[arg-type]
    logistic = [1 / (1 + math.exp(-margin)) for margin in (1.0, 2.0, -3.0, -3.0, 0.0)]
    assert [one.probability for one in found] == pytest.approx(logistic)
    assert sorted(scored) == [("one", "a"), ("one", "b"), ("one", "c"), ("two", "a"), ("two", "c")]


def test_a_reward_model_may_be_as_sure_as_numbers_allow_but_must_give_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Prompt((Message("user", "one"),))

    def judged(first: float, second: float) -> float | None:
        worth = {"a": first, "b": second}
        monkeypatch.setattr(judges, "score_texts", lambda _, __, answered: [[worth[t] for t in answered[0][1]]])
        (found,) = judges.by_scores(None, None, undecided=0.0)([Pair(prompt, "a", "b")])  # type: ignore[arg-type]
        return found.probability

    assert judged(0.0, 2000.0) == 0.0
    assert judged(2000.0, 0.0) == 1.0
    with pytest.raises(ModelError, match="not finite"):
        judged(math.nan, 0.0)


def test_a_stages_judge_can_be_attacked(tmp_path: Path) -> None:
    run(recipe(tmp_path, "scorer", "temperature: 1.5, injections: true"), tmp_path / "store")
    found = read_artifact(made(tmp_path, "labels")).record.summary["injections"]
    pairs, attacks = injection_set()
    assert found["pairs"] == len(pairs)
    assert 0 <= found["known"] <= len(pairs)
    assert (found["overall"] is None) == (found["known"] == 0)
    assert set(found["by_kind"]) == ({words.kind for words in attacks} if found["known"] else set())
