"""Imports point down, as the table of layers in docs/architecture.md says; recipes stop at the pipeline."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "trimtab"
ANYTHING_BELOW = {"everything below", "below"}


def layers() -> list[tuple[set[str], str]]:
    """The table's rows from top to bottom: the names of a layer, and what it may import."""
    table = (ROOT / "docs" / "architecture.md").read_text().split("## Layers")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*) \| .* \| (.*) \|$", table, flags=re.MULTILINE)
    return [({name.rstrip("/").removesuffix(".py") for name in quoted(cell)}, may) for cell, may in rows]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def allowed(layer: str) -> set[str]:
    """The parts of trimtab that a layer may import, itself among them."""
    rows = layers()
    place = next(place for place, (names, _) in enumerate(rows) if layer in names)
    _, may = rows[place]
    if may in ANYTHING_BELOW:
        below = {layer}.union(*(names for names, _ in rows[place + 1 :]))
        return below if layer in ("cli", "pipeline") else below - {"config"}
    return {layer, *quoted(may)}


def imported(file: Path) -> set[str]:
    """The parts of trimtab that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("trimtab.")}


def layer_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_imports_point_down() -> None:
    files = [file for file in SOURCE.rglob("*.py") if file.parent != SOURCE or not file.name.startswith("__")]
    assert len(files) > 50
    wrong = {
        f"{file.relative_to(SOURCE)} imports {name}"
        for file in files
        for name in imported(file) - allowed(layer_of(file))
    }
    assert wrong == set()


def test_the_help_imports_no_heavy_library() -> None:
    code = "import sys; from trimtab.cli.main import app; app(['--help'], standalone_mode=False); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(run.stdout.split())
    assert "typer" in modules
    assert not {"torch", "transformers", "numpy", "pydantic", "jinja2"} & modules
