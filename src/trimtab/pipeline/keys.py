"""The key of a stage: a hash of everything that can change what comes out, so equal keys mean equal artifacts.

It covers the stage's settings and seed, the content of its data, the fingerprints of models from outside, and the keys
of the stages it stands on. Where data lies, what a file is called and how the machine computes are no part of it. Data
sets of the hub are known by their name alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trimtab.config.base import StageConfig
from trimtab.config.recipe import Recipe, nearest
from trimtab.data.files import data_files
from trimtab.errors import ModelError


def stage_keys(recipe: Recipe) -> dict[str, str]:
    """The key of every stage, in running order. Raises `ModelError` for a model there is none of."""
    content, fingerprint = cache(content_hash), cache(_fingerprint)
    keys: dict[str, str] = {}
    for name, stage in recipe.stages.items():

        def identity(field: str, value: str, where: str = name) -> Any:
            if value in keys:
                return {"stage": value, "key": keys[value]}
            try:
                return {"model": fingerprint(value)}
            except ModelError as error:
                stages = "; it is no stage either" + nearest(value, recipe.stages) if "/" not in value else ""
                raise ModelError(f"{recipe.path}: stages.{where}.{field}: {error}{stages}") from error

        keys[name] = _key(stage, identity, content, recipe.edges(name))
    return keys


def content_hash(path: str) -> str:
    """SHA-256 of a file, or of a folder's data files with their names. A hub data set stands for itself."""
    if path.startswith("hf:"):
        return path
    if Path(path).is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for one in data_files(Path(path)):
        digest.update(f"{one.name}\0{content_hash(str(one))}\n".encode())
    return digest.hexdigest()


def _key(
    stage: StageConfig,
    identity: Callable[[str, str], Any],
    content: Callable[[str], str],
    edges: Mapping[str, str],
) -> str:
    settings: dict[str, Any] = stage.model_dump(mode="json", exclude=_excluded(stage.not_in_key))
    stages = set(edges.values())
    for field in {*stage.references, *stage.files}:

        def identify(value: str, field: str = field) -> Any:
            if value in stage.not_paths:
                return value
            return content(value) if field in stage.files and value not in stages else identity(field, value)

        value = settings[field]
        if isinstance(value, list):
            settings[field] = [identify(one) for one in value]
        elif value is not None:
            settings[field] = identify(value)
    return _digest({"schema": stage.schema_version, "settings": settings})


def _excluded(names: Iterable[str]) -> dict[str, Any]:
    """Settings to leave out, as pydantic takes them; `block.setting` is one inside a block."""
    found: dict[str, Any] = {}
    for name in names:
        block, _, setting = name.partition(".")
        if setting:
            found.setdefault(block, {})[setting] = True
        else:
            found[name] = True
    return found


def _digest(material: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()


def _fingerprint(name: str) -> str:
    from trimtab.models.registry import fingerprint

    return fingerprint(name)
