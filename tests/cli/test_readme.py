"""What the README tells a newcomer to type: its recipe, its rows, its commands; and the recipes that come along."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from tests.cli.world import CommandLine
from tests.pipeline.world import Kitchen

from trimtab.cli.main import app
from trimtab.config import load_recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INDENTED = [line.strip() for line in re.findall(r"^    .+$", README, re.MULTILINE)]
COMMANDS = [line.partition("#")[0].strip() for line in INDENTED if line.startswith("trimtab ")]
ROWS = [json.loads(line) for line in INDENTED if line.startswith("{")]


def write_desk(folder: Path) -> None:
    """The README's recipe beside files that hold the README's rows."""
    demonstration, comparison = ROWS
    (folder / "desk.yaml").write_text(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)[0])
    (folder / "demonstrations.jsonl").write_text(json.dumps(demonstration) + "\n")
    (folder / "comparisons.jsonl").write_text(json.dumps(comparison) + "\n")
    truth = json.loads(re.findall(r"`(\{\"amount.*?\}\})`", README)[0])
    for name in ("prompts", "heldout"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"prompt": name, "truth": truth}) + "\n")


def test_every_command_is_one_that_exists() -> None:
    assert len(COMMANDS) >= 5
    command = typer.main.get_command(app)
    for line in COMMANDS:
        arguments = shlex.split(line)[1:]
        context = command.make_context("trimtab", list(arguments), resilient_parsing=True)
        name, found, rest = command.resolve_command(context, arguments)  # type: ignore[attr-defined]
        assert found is not None, line
        if name == "data":
            _, found, rest = found.resolve_command(found.make_context(name, list(rest), resilient_parsing=True), rest)
        found.make_context(name, list(rest))  # raises on an unknown option or a missing argument


def test_the_recipe_and_the_rows_can_be_used(kitchen: Kitchen, trimtab: CommandLine, tmp_path: Path) -> None:
    write_desk(tmp_path)
    for name, kind in (("demonstrations", "prompt-completion"), ("comparisons", "preference")):
        assert f"format     {kind}" in trimtab("data", "check", f"{name}.jsonl").out
    planned = json.loads(trimtab("plan", "desk.yaml", "--json").out)
    assert [stage["name"] for stage in planned["stages"]] == ["sft", "reward_model", "policy", "evaluation", "report"]
    assert trimtab("run", "desk.yaml", "policy.kl_coef=0.1").code == 0


def test_make_knows_both_commands() -> None:
    assert shutil.which("make")
    for target in ("demo", "test"):
        assert f"    make {target}\n" in README
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_valid(recipe: Path) -> None:
    text = str(ROOT / "README.md")  # recipes/shakespeare.yaml leaves the text to the user
    assert load_recipe(recipe, [f"text_tuning.data={text}"] if recipe.stem == "shakespeare" else []).stages


def test_links_lead_somewhere() -> None:
    """To a file, or to a heading of the README itself."""
    headings = {"#" + title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links
    assert [link for link in links if link not in headings and not (ROOT / link).exists()] == []
