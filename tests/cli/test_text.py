"""Fine-tuning on plain text through the real command line, on a tiny random model and a text of our own."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tests.cli.test_real_run import artifact, log_of
from tests.cli.world import CommandLine
from tests.training.world import tiny_policy

from trimtab.errors import DataError
from trimtab.pipeline import text_stages

RECIPE = """\
title: A made-up chronicle
seed: 3
stages:
  text_tuning: {model: model, data: chronicle.txt, max_length: 32, batch_size: 8, max_steps: 12, learning_rate: 5e-3,
                micro_batch_tokens: 256, checkpoint_seconds: 0}
  text_evaluation: {base: model, models: [text_tuning], text: text_tuning, passages: 4, max_new_tokens: 12}
  report: {evaluation: text_evaluation}
runtime: {threads: 1, precision: fp32}
"""


def chronicle(lines: int = 700) -> str:
    """A text with a style: every line tells of a ship and its harbour, and a blank line follows three."""
    rng = random.Random(1)
    ships, deeds = ["the Heron", "the Tern", "the Gannet"], ["lay at anchor", "came home late", "put out to sea"]
    told = [f"In the year {rng.randint(1400, 1500)} {rng.choice(ships)} {rng.choice(deeds)}." for _ in range(lines)]
    return "\n".join(line + ("\n" if number % 3 == 2 else "") for number, line in enumerate(told)) + "\n"


def write_text_recipe(folder: Path, text: str | None = None) -> Path:
    tiny_policy().save(folder / "model")
    (folder / "chronicle.txt").write_text(chronicle() if text is None else text)
    (folder / "text.yaml").write_text(RECIPE)
    return folder / "text.yaml"


def test_a_recipe_on_text_ends_in_a_report(trimtab: CommandLine, tmp_path: Path) -> None:
    ended = trimtab("run", write_text_recipe(tmp_path).name)
    assert ended.code == 0, ended.err
    store = tmp_path / "runs" / "text"
    losses = [line["sft/loss"] for line in log_of(artifact(store, "text_tuning"))]
    assert len(losses) == 12
    assert losses[-1] < losses[0] - 0.5
    summary = json.loads((artifact(store, "text_tuning") / "artifact.json").read_text())["summary"]
    assert summary["characters"] + summary["held_out_characters"] == len(chronicle())
    assert summary["held_out_characters"] == pytest.approx(len(chronicle()) / 10, rel=0.05)

    evaluation = json.loads((artifact(store, "text_evaluation") / "evaluation.json").read_text())
    assert evaluation["models"] == ["base", "text_tuning", "the text"]
    bits = next(row["by_model"] for row in evaluation["metrics"] if row["metric"] == "bits_per_byte")
    assert bits["text_tuning"]["high"] < bits["base"]["low"]
    samples = [json.loads(line) for line in (artifact(store, "text_evaluation") / "samples.jsonl").open()]
    assert len(samples) == evaluation["groups"]["all"] > 1
    held_out = chronicle()[summary["characters"] :]
    assert all(one["passage"] in held_out and one["before"] in held_out for one in samples)
    contrast = [json.loads(line) for line in (artifact(store, "text_evaluation") / "contrast.jsonl").open()]
    assert all(one["passage"] in chronicle()[: summary["characters"]] for one in contrast)
    assert len(contrast) == 4
    page = (artifact(store, "report") / "report.html").read_text()
    assert "A made-up chronicle" in page
    assert str(tmp_path) not in page


def test_all_weights_can_learn_and_the_held_out_part_is_not_learnt_from(trimtab: CommandLine, tmp_path: Path) -> None:
    """What is held out can be anything: the model that comes out is the same, bit for bit."""
    recipe = write_text_recipe(tmp_path)
    weights = []
    for end in ("x", "y"):
        text = chronicle()
        kept = text.rindex("\n\n", 0, len(text) - len(text) // 10) + 2
        (tmp_path / "chronicle.txt").write_text(text[:kept] + end * (len(text) - kept))
        ended = trimtab("run", recipe, "--until", "text_tuning", "text_tuning.adapter=null", "--store", tmp_path / end)
        assert ended.code == 0, ended.err
        weights.append((artifact(tmp_path / end, "text_tuning") / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != (tmp_path / "model" / "model.safetensors").read_bytes()


def test_a_text_that_is_not_there_says_where_texts_are(trimtab: CommandLine, tmp_path: Path) -> None:
    write_text_recipe(tmp_path)
    (tmp_path / "chronicle.txt").unlink()
    ended = trimtab("run", "text.yaml")
    assert ended.code != 0
    said = " ".join(ended.err.split())
    assert "stages.text_tuning.data: there is no file or folder" in said
    assert "Project Gutenberg (www.gutenberg.org)" in said


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("text_tuning.held_out=0", "text_evaluation: text_tuning holds nothing out"),
        ("text_tuning.data=[chronicle.jsonl]", "not plain text"),
        ("text_evaluation.text=tuning", "there is no stage 'tuning'; did you mean text_tuning?"),
        ("text_tuning.held_out=0.001", "text_evaluation: the text is too short to be measured on"),
    ],
)
def test_mistakes_are_told_before_anything_is_learnt(
    trimtab: CommandLine, tmp_path: Path, override: str, expected: str
) -> None:
    write_text_recipe(tmp_path)
    (tmp_path / "chronicle.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    ended = trimtab("run", "text.yaml", override, "text_tuning.max_steps=1")
    assert ended.code != 0
    assert expected in " ".join(ended.err.split())
    assert "started" not in ended.err


def test_models_that_were_measured_are_not_asked_again(
    trimtab: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that ends after the base model was measured measures only the other when it goes on."""
    write_text_recipe(tmp_path)
    loaded: list[str] = []
    load = text_stages.load_writer

    def load_writer(model: str, *arguments: object, **options: object) -> object:
        loaded.append(Path(model).name.partition("-")[0])
        if fail and len(loaded) == 2:
            raise DataError("the lights went out")
        return load(model, *arguments, **options)

    monkeypatch.setattr(text_stages, "load_writer", load_writer)
    fail = True
    assert trimtab("run", "text.yaml").code != 0
    fail = False
    assert trimtab("run", "text.yaml").code == 0
    assert loaded == ["model", "text_tuning", "text_tuning"]


def test_what_one_stage_holds_out_another_must_not_learn(trimtab: CommandLine, tmp_path: Path) -> None:
    path = write_text_recipe(tmp_path)
    more = "  more: {kind: text_tuning, model: text_tuning, data: chronicle.txt, held_out: 0}\n  text_evaluation:"
    path.write_text(RECIPE.replace("  text_evaluation:", more).replace("models: [text_tuning]", "models: [more]"))
    ended = trimtab("run", path.name)
    assert ended.code != 0
    assert "more and text_tuning learn from" in " ".join(ended.err.split())


def test_the_check_reads_a_text(trimtab: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "chronicle.txt").write_text(chronicle(30))
    ended = trimtab("data", "check", "chronicle.txt", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["format"], found["rows"]) == ("text (language modelling)", 1)
