"""A record tells no one's home."""

from __future__ import annotations

from pathlib import Path

from tests.config.world import write_recipe

from trimtab.config import load_recipe
from trimtab.pipeline.record import recorded_config


def test_paths_are_seen_from_the_recipe_and_others_are_names(tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "alice" / "desk")
    model, data = tmp_path / "alice" / "secret" / "my-model", tmp_path / "alice" / "private" / "answers.jsonl"
    model.mkdir(parents=True)
    data.parent.mkdir()
    data.write_text("{}")
    recipe = load_recipe(path, [f"sft.model={model}", f"sft.data={data}", f"held_out.models=[{model}, policy]"])
    sft = recorded_config(recipe.stages["sft"], recipe.path.parent)
    assert (sft["model"], sft["data"]) == ("my-model", "answers.jsonl")
    held_out = recorded_config(recipe.stages["held_out"], recipe.path.parent)
    assert held_out["models"] == ["my-model", "policy"]
    assert held_out["prompts"] == "data/held_out.jsonl"
    assert (held_out["base"], held_out["comparisons"]) == ("smollm2-135m-instruct", None)
