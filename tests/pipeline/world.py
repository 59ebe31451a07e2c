"""Stages that cost nothing: they write what they were given, so that a test can see who was run with what."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.config.world import RECIPE, write_recipe

from trimtab.config import KINDS, Recipe, load_recipe
from trimtab.pipeline.runner import Finished, StageFunction, run


class Kitchen:
    """A recipe in a folder with its store, and stage functions that keep a list of what was run."""

    def __init__(self, folder: Path) -> None:
        self.path = write_recipe(folder, RECIPE + "runtime: {threads: 1, precision: fp32}\n")
        self.store = folder / "store"
        self.ran: list[str] = []
        self.functions: dict[str, StageFunction] = dict.fromkeys(KINDS, self.stage)

    def recipe(self, *overrides: str) -> Recipe:
        return load_recipe(self.path, overrides)

    def run(self, *overrides: str, **options: Any) -> list[Finished]:
        return run(self.recipe(*overrides), self.store, functions=self.functions, **options)

    def stage(self, config: Any, inputs: Any, context: Any) -> dict[str, Any]:
        """Write the inputs' names and where their artifacts are."""
        self.ran.append(config.kind)
        found = {name: artifact.path.name for name, artifact in inputs.items()}
        (context.folder / "made.json").write_text(json.dumps(found))
        (context.folder / "inner").mkdir()
        (context.folder / "inner" / "weights").write_text(str(context.seed))
        return {"inputs": len(inputs)}

    def does(self, kind: str, function: Callable[[Any], Any]) -> None:
        """Let the stages of a kind do this with their context."""

        def stage(config: Any, inputs: Any, context: Any) -> dict[str, Any]:
            function(context)
            return self.stage(config, inputs, context)

        self.functions[kind] = stage

    def visible(self) -> list[str]:
        """The stages' names of the folders in the store that are neither state nor partial."""
        return sorted(path.name.rpartition("-")[0] for path in self.store.iterdir() if "." not in path.name)

    def left(self, ending: str) -> list[str]:
        """The folders in the store with this ending."""
        return sorted(path.name.rpartition("-")[0] for path in self.store.glob(f"*{ending}"))
