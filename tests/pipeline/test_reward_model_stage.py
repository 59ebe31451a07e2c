"""The stage of the reward model on rankings and grades: from a recipe and a file to an artifact that scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests.training.world import tiny_policy
from torch import Tensor

from trimtab.config import load_recipe
from trimtab.config.load import Recipe
from trimtab.errors import DataError, ModelError, RecipeError
from trimtab.models.loading import load_bilinear_reward, load_reward_model
from trimtab.models.registry import fingerprint
from trimtab.models.rows import TokenRow
from trimtab.models.trunk import SCORE_SUFFIX
from trimtab.pipeline.artifacts import read_artifact
from trimtab.pipeline.data_checks import check_data
from trimtab.pipeline.find import find_reward_model
from trimtab.pipeline.resolve import load_scorer
from trimtab.pipeline.reward_model_stage import run_reward_model
from trimtab.pipeline.runner import run
from trimtab.training.grades import SCALE_FILE

TEXTS = ["Approved.", "Missing receipt.", "Refused."]
PAIR = {"prompt": "question 0", "chosen": "Approved.", "rejected": "Refused."}


def ranked(number: int) -> dict[str, Any]:
    return {"prompt": f"question {number}", "responses": TEXTS, "ranking": [0, [1, 2]], "annotator": "ann"}


def graded(number: int) -> dict[str, Any]:
    return {"prompt": f"question {number}", "responses": [TEXTS[number % 3]], "scores": [7 - 3 * (number % 3)]}


def recipe(folder: Path, settings: str, rows: list[dict[str, Any]]) -> Recipe:
    """One reward model under an adapter, on these rows."""
    tiny_policy().save(folder / "model")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage = f"reward_model: {{model: model, data: rows.jsonl, prompts_per_step: 4, {settings}}}"
    path = folder / "recipe.yaml"
    path.write_text(f"stages:\n  {stage}\nruntime: {{threads: 1, precision: fp32}}\n")
    return load_recipe(path)


@pytest.mark.parametrize(
    ("settings", "rows", "summary"),
    [
        ("ranking_loss: plackett_luce", [ranked(n) for n in range(6)], {"ranked_responses": 18, "prompts": 6}),
        ("grade_loss: ordinal", [graded(n) for n in range(6)], {"grades": 6, "prompts": 6}),
        (
            "grade_loss: ordinal, adapter: null, normalize: false",
            [graded(n) for n in range(6)],
            {"grades": 6, "prompts": 6},
        ),
    ],
)
def test_an_artifact_scores_whatever_it_learnt_from(
    tmp_path: Path, settings: str, rows: list[dict[str, Any]], summary: dict[str, int]
) -> None:
    (finished,) = run(
        recipe(tmp_path, settings, rows), tmp_path / "store", functions={"reward_model": run_reward_model}
    )
    folder = finished.artifact.path
    assert read_artifact(folder).record.summary == summary
    model = load_reward_model(folder)
    (scores,) = model.score_rows([TokenRow((5, 6), ((7, 8), (9,)))], pad_id=0, max_tokens=100)
    assert scores.isfinite().all()
    assert scores[0] != scores[1]
    if "grades" in summary:
        scale = json.loads((folder / SCALE_FILE).read_text())
        assert scale["grades"] == [1, 4, 7]
        assert scale["thresholds"] == sorted(scale["thresholds"])
        assert scale["steepness"] > 0
    else:
        assert not (folder / SCALE_FILE).exists()


@pytest.mark.parametrize(
    ("settings", "row", "expected"),
    [
        ("ranking_loss: plackett_luce", PAIR, r"preference rows \(comparisons\), not rankings"),
        ("grade_loss: ordinal", ranked(0), r"rankings rows \(rankings\), not grades"),
        ("num_epochs: 1", graded(0), r"grades rows \(grades\), and no annotator graded two .*grade_loss: ordinal"),
    ],
)
def test_data_of_another_kind_is_told_before_the_run(
    tmp_path: Path, settings: str, row: dict[str, Any], expected: str
) -> None:
    with pytest.raises(DataError, match=f"^reward_model: .*{expected}"):
        check_data(recipe(tmp_path, settings, [row]), ["reward_model"])


def test_single_grades_are_data_to_the_loss_that_can_learn_from_them(tmp_path: Path) -> None:
    check_data(recipe(tmp_path, "grade_loss: ordinal", [graded(0), graded(1)]), ["reward_model"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("ranking_loss: plackett_luce, grade_loss: ordinal", "ranking_loss or grade_loss must be pairs"),
        ("grade_loss: ordinal, centering: 0.1", "centering is for pairs, but grade_loss is ordinal"),
        ("ranking_loss: plackettluce", "input should be 'pairs' or 'plackett_luce', not 'plackettluce'"),
    ],
)
def test_settings_that_do_not_go_together_are_told(tmp_path: Path, settings: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        recipe(tmp_path, settings, [PAIR])


@pytest.mark.parametrize("settings", ["normalize: false", "normalize: false, adapter: null"])
def test_a_reward_model_is_trained_on_as_it_is(tmp_path: Path, settings: str) -> None:
    recipe(tmp_path, settings, [PAIR | {"prompt": f"question {n}"} for n in range(8)])
    path = tmp_path / "recipe.yaml"
    stage = "kind: reward_model, data: rows.jsonl, prompts_per_step: 4, normalize: false, warmup_ratio: 0"
    more = f"""
  still: {{{stage}, model: reward_model, learning_rate: 1.0e-12}}
  moved: {{{stage}, model: reward_model, learning_rate: 1.0e-2}}
runtime:"""
    path.write_text(path.read_text().replace("\nruntime:", more))
    functions = {"reward_model": run_reward_model}
    finished = {
        one.artifact.name: one.artifact.path for one in run(load_recipe(path), tmp_path / "store", functions=functions)
    }
    rows = [TokenRow((5, 6), ((7, 8), (9,)))]
    first, still, moved = (
        load_reward_model(finished[name]).score_rows(rows, pad_id=0, max_tokens=100)[0]
        for name in ("reward_model", "still", "moved")
    )
    assert still.tolist() == pytest.approx(first.tolist(), abs=1e-5)
    assert (moved - first).abs().max() > 1e-3
    before, after = (_trunk_weights(finished[name]) for name in ("reward_model", "moved"))
    assert any(not after[name].equal(weight) for name, weight in before.items())  # more than the head has learnt


def _trunk_weights(folder: Path) -> dict[str, Tensor]:
    (file,) = folder.glob("*.safetensors")
    return {name: weight for name, weight in load_file(file).items() if not name.endswith(SCORE_SUFFIX)}


def test_it_is_measured_on_comparisons_kept_away_from_it(tmp_path: Path) -> None:
    rows = [PAIR | {"prompt": f"question {n}"} for n in range(12)]
    unseen = [PAIR | {"prompt": f"other question {n}"} for n in range(6)]
    (tmp_path / "unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unseen))
    wanted = recipe(tmp_path, "num_epochs: 8, learning_rate: 1.0e-2, held_out: unseen.jsonl", rows)
    check_data(wanted, ["reward_model"])
    (finished,) = run(wanted, tmp_path / "store", functions={"reward_model": run_reward_model})
    found = finished.artifact.record.summary["held_out"]
    assert found["comparisons"] == 6
    assert (found["accuracy"]["value"], found["accuracy"]["n"]) == (1.0, 6)  # the same two answers everywhere
    (tmp_path / "unseen.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="held-out data and the data of reward_model overlap"):
        check_data(wanted, ["reward_model"])


def frozen_recipe(folder: Path) -> Path:
    """A head on a frozen model, another that goes on from it, and a reward model that cannot."""
    recipe(folder, "normalize: false", [PAIR | {"prompt": f"question {n}"} for n in range(8)])
    path = folder / "recipe.yaml"
    path.write_text(
        """stages:
  first: {kind: reward_model, model: model, data: rows.jsonl, frozen: true}
  second: {kind: reward_model, model: first, data: rows.jsonl, frozen: true, l2: 1.0e-6}
runtime: {threads: 1, precision: fp32}
"""
    )
    return path


def test_a_frozen_model_gets_a_head_that_another_goes_on_from(tmp_path: Path) -> None:
    path = frozen_recipe(tmp_path)
    functions = {"reward_model": run_reward_model}
    finished = [one.artifact for one in run(load_recipe(path), tmp_path / "store", functions=functions)]
    assert [one.record.summary for one in finished] == [{"comparisons": 8, "prompts": 8}] * 2
    rows = [TokenRow((5, 6), ((7, 8), (9,)))]
    first, second = (load_bilinear_reward(one.path).score_rows(rows, pad_id=0, max_tokens=100)[0] for one in finished)
    assert first.isfinite().all()
    assert first[0] != first[1]
    assert (first - second).abs().max() > 1e-6
    assert (
        load_scorer(finished[1].path, load_recipe(path).runtime, allow_remote_code=False)[0]
        .score_rows(rows, pad_id=0, max_tokens=100)[0]
        .equal(second)
    )
    assert find_reward_model(str(finished[1].path)) == finished[1].path
    assert find_reward_model(str(tmp_path / "store" / "second")) == finished[1].path


def test_the_scale_of_a_frozen_models_head_is_part_of_what_it_is(tmp_path: Path) -> None:
    path = frozen_recipe(tmp_path)
    first = run(load_recipe(path), tmp_path / "store", functions={"reward_model": run_reward_model})[0].artifact.path
    before = fingerprint(str(first))
    file = first / "bilinear_head.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"gain": 2.0}))
    assert fingerprint(str(first)) != before


def test_what_a_frozen_models_head_stands_on_is_part_of_what_it_is(tmp_path: Path) -> None:
    path = frozen_recipe(tmp_path)
    first = run(load_recipe(path), tmp_path / "store", functions={"reward_model": run_reward_model})[0].artifact.path
    before = fingerprint(str(first))
    template = tmp_path / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert fingerprint(str(first)) != before


def test_a_frozen_models_head_is_not_trained_on(tmp_path: Path) -> None:
    path = frozen_recipe(tmp_path)
    path.write_text(path.read_text().replace("frozen: true, l2: 1.0e-6", "num_epochs: 1"))
    with pytest.raises(ModelError, match="only frozen: true can go on from"):
        run(load_recipe(path), tmp_path / "store", functions={"reward_model": run_reward_model})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("frozen: true", "takes no training steps, so leave out prompts_per_step"),
        ("l2: 0.1", "l2 is for frozen: true"),
    ],
)
def test_settings_that_a_frozen_model_has_no_use_for_are_refused(tmp_path: Path, settings: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        recipe(tmp_path, settings, [PAIR])
