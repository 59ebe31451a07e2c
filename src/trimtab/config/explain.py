"""What can be set in a recipe, read from the settings themselves: values, default, meaning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from trimtab.config.base import Runtime, StageConfig, Strict
from trimtab.config.load import Header
from trimtab.config.recipe import nearest
from trimtab.config.stages import KINDS
from trimtab.errors import UserError

RUNTIME = "runtime"
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null"}
_LIMITS: dict[type, tuple[str, str]] = {
    Gt: ("gt", "above"),
    Ge: ("ge", "at least"),
    Lt: ("lt", "below"),
    Le: ("le", "at most"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `group` is the kind of stage, `runtime`, or empty at a recipe's top level; `path` is inside it."""

    group: str
    path: str
    values: str
    required: bool
    default: Any
    meaning: str
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The full name: `ppo.adapter.rank`."""
        return f"{self.group}.{self.path}" if self.group else self.path


def kinds() -> dict[str, str]:
    """Each kind of stage with its meaning in a line."""
    return {name: _first_line(model) for name, model in KINDS.items()}


def groups() -> dict[str, str]:
    """What has settings inside, with its meaning in a line: the kinds of stages and `runtime`."""
    return kinds() | {RUNTIME: _first_line(Runtime)}


def top_level() -> list[Setting]:
    """What a recipe says beside its stages' settings."""
    return [setting for setting in settings() if not setting.group]


def settings() -> list[Setting]:
    """Every setting there is."""
    found = [one for kind, model in KINDS.items() for one in _settings(kind, model)]
    return [*found, *_settings(RUNTIME, Runtime), *_settings("", Header, nested=False)]


def find(name: str) -> list[Setting]:
    """The settings of a kind of stage or of `runtime`; else those called so, with what is inside them.

    `ppo.kl_coef`, `kl_coef`, `adapter`, `sft.adapter.rank` and `rank` are names. Raises `UserError` for others, with
    the nearest.
    """
    every = settings()
    of_group = [one for one in every if one.group == name]
    found = of_group or [one for one in every if f".{name}." in f".{one.name}."]
    if not found or not name:
        raise UserError(f"nothing in a recipe is called {name!r}{_nearest(name, every)}")
    return found


def _nearest(name: str, every: Iterable[Setting]) -> str:
    paths = [setting.path for setting in every]
    known = [*groups(), *paths, *(path.rpartition(".")[2] for path in paths)]
    if "." in name:
        known += [setting.name for setting in every]
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return nearest(name, known) if close else nearest(name, groups())


def _settings(group: str, model: type[Strict], path: str = "", *, nested: bool = True) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        yield Setting(
            group,
            path + name,
            values=_values(field),
            required=field.is_required(),
            default=_plain(field.get_default()) if not field.is_required() else None,
            meaning=field.description or "",
            notes=tuple(_notes(group, model, name)),
        )
        inner = _nested(field.annotation)
        if inner is not None and nested:
            yield from _settings(group, inner, f"{path}{name}.")


def _notes(group: str, model: type[Strict], name: str) -> Iterator[str]:
    """What else the pipeline makes of a setting."""
    if group == RUNTIME or (issubclass(model, StageConfig) and name in model.not_in_key):
        yield "Changing it makes no stage run again."
    if not issubclass(model, StageConfig):
        return
    if name in model.references:
        how = "Must name" if name in model.stage_only else "May name"
        yield f"{how} a stage of kind {' or '.join(model.references[name])}."
    if name in model.files:
        yield "A path is meant as seen from the recipe's folder."


def _values(field: FieldInfo) -> str:
    """What a setting may be: "number, above 0, or null"."""
    words, nullable = _type(field.annotation)
    text = ", ".join([words, *_limits(field.metadata)])
    return f"{text}, or null" if nullable else text


def _type(annotation: Any) -> tuple[str, bool]:
    """A type in words, and whether null is one of its values."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        words = [_type(one)[0] for one in inside if one is not NoneType]
        return " or ".join(words), NoneType in inside
    if origin is Annotated:
        limits = _limits(FieldInfo.from_annotation(annotation).metadata)
        return ", ".join([_type(inside[0])[0], *limits]), False
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}", False
    if origin is list:
        return f"list of {_type(inside[0])[0]}", False
    if origin is tuple:
        return f"list of {len(inside)}: {_type(inside[0])[0]}", False
    if origin is dict and inside[1] is str:
        return "name: text, as many as needed", False
    if _nested(annotation) or origin is dict:
        return "settings of its own", False
    return _WORDS[annotation], False


def _limits(metadata: Iterable[Any]) -> list[str]:
    found = []
    for one in metadata:
        if type(one) in _LIMITS:
            field, word = _LIMITS[type(one)]
            found.append(f"{word} {getattr(one, field)}")
        elif isinstance(one, MinLen):
            found.append(f"at least {one.min_length} of them")
    return found


def _nested(annotation: Any) -> type[Strict] | None:
    """The settings inside a setting, if it has any."""
    inside = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Strict)]
    return inside[0] if inside else None


def _plain(value: Any) -> Any:
    """A default as JSON and YAML know it."""
    if isinstance(value, Strict):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _first_line(model: type[Strict]) -> str:
    return cleandoc(model.__doc__ or "").splitlines()[0]
