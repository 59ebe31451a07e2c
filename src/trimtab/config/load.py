"""From a YAML file and overrides to a checked `Recipe`. Every mistake is told with its place and the nearest remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from trimtab.config.base import Runtime, StageConfig, Strict
from trimtab.config.overrides import apply_override
from trimtab.config.recipe import Recipe, check_references, in_running_order, nearest, reference_values
from trimtab.config.stages import KINDS
from trimtab.config.yaml import read_yaml
from trimtab.errors import RecipeError

Model = TypeVar("Model", bound=Strict)
STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Header(Strict):
    """What a recipe says at its top level."""

    title: str = Field("", description="What the run is about, for the report.")
    seed: int = Field(0, ge=0, description="Fixes all randomness, in every stage that has no seed of its own.")
    stages: dict[str, Any] = Field(min_length=1, description="The stages, each under a name of your choice.")
    runtime: Runtime = Field(Runtime(), description="How to compute; it changes no result's identity.")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe, with overrides such as `policy.kl_coef=0.1`. Raises `RecipeError`."""
    file = Path(path).expanduser().resolve()
    try:
        raw = read_yaml(file)
        for override in overrides:
            apply_override(raw, override, Header.model_fields)
        return _checked(file, raw)
    except RecipeError as error:
        lines = str(error).split("\n")
        raise RecipeError("\n".join(f"{path}: {line}" for line in lines)) from None


def _checked(path: Path, raw: Mapping[str, Any]) -> Recipe:
    problems: list[str] = []
    header = _validate(Header, raw, (), problems)
    stages: dict[str, StageConfig] = {}
    written = raw.get("stages")
    for name, settings in written.items() if isinstance(written, Mapping) else ():
        stage = _stage(name, settings, problems)
        if stage is not None:
            stages[name] = stage
    _stop_at(problems)
    assert header is not None
    stages = {
        name: _with_paths(_with_defaults(stage, header), f"stages.{name}", path.parent, set(stages), problems)
        for name, stage in stages.items()
    }
    problems += check_references(stages)
    _stop_at(problems)
    return Recipe(path, header.title, header.seed, in_running_order(stages), header.runtime)


def _stage(name: Any, settings: Any, problems: list[str]) -> StageConfig | None:
    place = f"stages.{name}"
    if not isinstance(name, str) or not STAGE_NAME.fullmatch(name) or name in Header.model_fields:
        problems.append(f"{place}: this name cannot be used; take letters, digits, _ and -, and no top-level key")
        return None
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        problems.append(f"{place}: a stage is written as settings (name: value), not as {settings!r}")
        return None
    kind = settings.get("kind", name)
    if kind not in KINDS:
        what = f"there is no kind {kind!r}" if "kind" in settings else f"say which kind of stage {name!r} is"
        problems.append(f"{place}.kind: {what}{nearest(str(kind), KINDS)}")
        return None
    return _validate(KINDS[kind], {**settings, "kind": kind}, ("stages", name), problems)


def _validate(model: type[Model], raw: Mapping[str, Any], place: tuple[str, ...], problems: list[str]) -> Model | None:
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        problems += [_told(model, place, detail) for detail in error.errors()]
        return None


def _told(model: type[Strict], place: tuple[str, ...], detail: ErrorDetails) -> str:
    """One mistake in a line: where, what, and what it might have meant."""
    where = ".".join(map(str, (*place, *detail["loc"])))
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(str(detail['loc'][-1]), _known_keys(model, detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return f"{where}: this is missing"
    if detail["type"] == "value_error":
        return f"{where}: {detail['ctx']['error']}"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{where}: {message}, not {detail['input']!r}"


def _known_keys(model: type[Strict], path: Iterable[int | str]) -> list[str]:
    """The keys that may stand at a path inside a model."""
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        for found in (annotation, *get_args(annotation)):
            if isinstance(found, type) and issubclass(found, Strict):
                model = found
    return list(model.model_fields)


def _with_defaults(stage: StageConfig, header: Header) -> StageConfig:
    """The recipe's seed and title where the stage gives none."""
    given: dict[str, Any] = {}
    if getattr(stage, "seed", 0) is None:
        given["seed"] = header.seed
    if getattr(stage, "title", None) == "":
        given["title"] = header.title
    return stage.model_copy(update=given)


def _with_paths(stage: StageConfig, place: str, folder: Path, names: set[str], problems: list[str]) -> StageConfig:
    """The stage with its paths made absolute: data, and models that are folders."""
    given: dict[str, Any] = {}

    def absolute_path(field: str, value: str | None) -> str | None:
        named = value in stage.not_paths or (field in stage.references and value in names)
        if value is None or named or value.startswith("hf:"):
            return value
        file = (folder / Path(value).expanduser()).resolve()
        if not file.exists():
            problems.append(f"{place}.{field}: there is no file or folder {file}{stage.when_absent}")
        return str(file)

    for field in stage.files:
        value = getattr(stage, field)
        given[field] = (
            [absolute_path(field, one) for one in value] if isinstance(value, list) else absolute_path(field, value)
        )
    absolute = {value: _model(value, folder) for value in reference_values(stage).values() if value not in names}
    for field in set(stage.references) - set(stage.files):
        value = getattr(stage, field)
        given[field] = (
            [absolute.get(one, one) for one in value] if isinstance(value, list) else absolute.get(value, value)
        )
    return stage.model_copy(update=given)


def _model(name: str, folder: Path) -> str:
    """A model that is a folder, or is written like one, as an absolute path; other names as they are."""
    path = folder / Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() or name.startswith((".", "/", "~")) else name


def _stop_at(problems: list[str]) -> None:
    if problems:
        raise RecipeError("\n".join(problems))
