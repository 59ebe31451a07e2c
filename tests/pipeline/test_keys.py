"""Keys change with what can change a result, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.config.world import RECIPE, write_recipe

from trimtab.config import load_recipe
from trimtab.errors import DataError, ModelError
from trimtab.pipeline.keys import content_hash, stage_keys

ALL = {"sft", "reward_model", "policy", "held_out", "report"}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def keys(path: Path, *overrides: str) -> dict[str, str]:
    return stage_keys(load_recipe(path, overrides))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "here")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("runtime.threads=1", set()),
        ("runtime.precision=fp32", set()),
        ("sft.checkpoint_seconds=5", set()),
        ("sft.allow_remote_code=true", set()),
        ("sft.num_epochs=3", set()),  # the default, written out
        ("sft.adapter.rank=16", set()),
        ("sft.num_epochs=2", ALL),
        ("sft.adapter.rank=4", ALL),
        ("sft.adapter=null", ALL),
        ("seed=18", ALL),
        ("seed=17", set()),
        ("reward_model.seed=4", ALL - {"sft"}),
        ("sft.columns={}", set()),
        ("sft.columns.prompt=question", ALL),
        ("held_out.skip_bad=true", {"held_out", "report"}),
        ("sft.chat_template=auto", set()),
        ("sft.chat_template=gemma", ALL),
        ("held_out.show=[Why]", {"held_out", "report"}),
        ("policy.kl_coef=0.1", {"policy", "held_out", "report"}),
        ("held_out.models=[policy, sft]", {"held_out", "report"}),
        ("title=Another", {"report"}),
    ],
)
def test_what_a_setting_changes(path: Path, override: str, expected: set[str]) -> None:
    assert changed(keys(path), keys(path, override)) == expected


def test_the_content_of_data_counts_and_its_place_does_not(path: Path, tmp_path: Path) -> None:
    before = keys(path)
    moved = tmp_path / "there"
    shutil.move(path.parent, moved)
    (moved / "data" / "demonstrations.jsonl").rename(moved / "data" / "d.jsonl")
    moved_keys = keys(moved / path.name, f"sft.data={moved / 'data' / 'd.jsonl'}")
    assert changed(before, moved_keys) == set()

    (moved / "data" / "comparisons.jsonl").write_text('{"prompt": "comparisonS"}\n')
    again = keys(moved / path.name, f"sft.data={moved / 'data' / 'd.jsonl'}")
    assert changed(moved_keys, again) == ALL - {"sft"}


def test_the_content_of_a_chat_template_counts(path: Path, tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{{ messages }}")
    before = keys(path, f"sft.chat_template={template}")
    template.rename(tmp_path / "moved.jinja")
    assert changed(before, keys(path, f"sft.chat_template={tmp_path / 'moved.jinja'}")) == set()
    (tmp_path / "moved.jinja").write_text("{{ message }}")
    assert changed(before, keys(path, f"sft.chat_template={tmp_path / 'moved.jinja'}")) == ALL


def test_the_order_of_stages_in_the_file_does_not_count(path: Path, tmp_path: Path) -> None:
    lines = RECIPE.splitlines(keepends=True)
    moved_to_the_end = [*lines[:3], *lines[4:], lines[3]]
    assert moved_to_the_end != lines
    other = write_recipe(tmp_path / "other", "".join(moved_to_the_end))
    assert changed(keys(path), keys(other)) == set()


def test_the_files_in_a_folder_of_data_count_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1")
    (tmp_path / "b.jsonl").write_text("2")
    before = content_hash(str(tmp_path))
    (tmp_path / "a.jsonl").rename(tmp_path / "c.jsonl")
    assert content_hash(str(tmp_path)) != before
    (tmp_path / "c.jsonl").rename(tmp_path / "a.jsonl")
    assert content_hash(str(tmp_path)) == before


def test_what_is_not_read_of_a_folder_of_data_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("1")
    before = content_hash(str(tmp_path))
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.jsonl").write_text("2")
    assert content_hash(str(tmp_path)) == before
    (tmp_path / "b.jsonl").write_text("2")
    assert content_hash(str(tmp_path)) != before


def test_a_folder_without_data_is_told(path: Path) -> None:
    (path.parent / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        keys(path, f"sft.data={path.parent / 'empty'}/")


def test_the_weights_of_a_model_folder_count(path: Path) -> None:
    model = path.parent / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    save_file({"weight": torch.zeros(2)}, model / "model.safetensors")
    before = keys(path, f"sft.model={model}/")
    save_file({"weight": torch.ones(2)}, model / "model.safetensors")
    assert changed(before, keys(path, f"sft.model={model}/")) == ALL


def test_a_model_there_is_none_of_is_told_with_its_place(path: Path) -> None:
    with pytest.raises(ModelError, match=r"stages\.policy\.model: no model is called 'sftt'.*did you mean sft\?"):
        keys(path, "policy.model=sftt")


def test_a_model_that_was_cut_short_is_told_with_its_place_and_file(path: Path) -> None:
    model = path.parent / "model"
    model.mkdir()
    save_file({"weight": torch.zeros(100)}, model / "model.safetensors")
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:-8])
    with pytest.raises(ModelError, match=r"stages\.sft\.model: .*model\.safetensors cannot be read.*fetch or make it"):
        keys(path, f"sft.model={model}/")
