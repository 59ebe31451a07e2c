"""A constitution: principles by which a model criticises, revises and compares answers (Bai et al., 2022)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from trimtab.errors import DataError


@dataclass(frozen=True, slots=True)
class Principle:
    """One principle. `critique` and `revision` are requests to the author of an answer; `comparison` asks which of two
    answers is better by this principle; `source` says where the idea comes from."""

    id: str
    source: str
    critique: str
    revision: str
    comparison: str


@dataclass(frozen=True, slots=True)
class Constitution:
    """Principles in order. `version` is a hash of all that they say, and goes with every label made by them."""

    title: str
    version: str
    principles: tuple[Principle, ...]

    def __getitem__(self, id: str) -> Principle:
        return next(principle for principle in self.principles if principle.id == id)


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A draft, its critique and its revision, to show a model the form of both."""

    prompt: str
    draft: str
    critique: str
    revision: str


def read_constitution(path: Path) -> Constitution:
    """Read a YAML file with `title` and `principles`. Raises `DataError` that names the principle that is wrong."""
    values = _mapping(path)
    principles = [
        _record(Principle, entry, f"{path}: principle {number}")
        for number, entry in enumerate(_list(values, "principles", path), start=1)
    ]
    ids = [principle.id for principle in principles]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        raise DataError(f"{path}: two principles have the id {twice[0]!r}, so their work could not be told apart")
    said = "\0".join(getattr(principle, field.name) for principle in principles for field in fields(Principle))
    version = hashlib.sha256(said.encode()).hexdigest()[:12]
    return Constitution(str(values.get("title", path.stem)), version, tuple(principles))


def read_examples(path: Path) -> tuple[WorkedExample, ...]:
    """Read a YAML file with `examples`, each of prompt, draft, critique and revision. Raises `DataError`."""
    entries = _list(_mapping(path), "examples", path)
    return tuple(
        _record(WorkedExample, entry, f"{path}: example {number}") for number, entry in enumerate(entries, start=1)
    )


def _mapping(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise DataError(f"{path} must hold settings by name, not {type(values).__name__}")
    return values


def _list(values: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    entries = values.get(name)
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path} needs a list under {name!r}, with at least one entry")
    return entries


def _record(kind: type[Any], entry: Any, where: str) -> Any:
    names = [field.name for field in fields(kind)]
    if not isinstance(entry, Mapping):
        raise DataError(f"{where} must have {', '.join(names)}")
    for name in names:
        value = entry.get(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where} ({entry.get('id', 'no id')}): {name} must be a text that is not empty")
    if unknown := sorted(set(entry) - set(names)):
        raise DataError(f"{where} ({entry.get('id', 'no id')}): unknown {unknown[0]!r}; there are: {', '.join(names)}")
    return kind(**{name: entry[name].strip() for name in names})
