"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[Path, typer.Argument(help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change: policy.kl_coef=0.1, seed=3, runtime.threads=1.")
]
Store = Annotated[Path | None, typer.Option(help="Folder of the artifacts; runs/<recipe's name> if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AllowRemoteCode = Annotated[
    bool, typer.Option("--allow-remote-code", help="Let a model run Python code it brings along. Read that code first.")
]
