"""The models that come with trimtab: listed without the network, fetched with their licence shown first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.world import CommandLine

from trimtab.models import bundled
from trimtab.models.bundled import BUNDLED, BundledModel, cached_folder

NAMES = ["smollm2-135m-instruct", "gemma-3-270m"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(bundled, "user_cache_path", lambda _: tmp_path / "cache")
    return tmp_path / "cache"


def put_into_cache(name: str) -> Path:
    folder = cached_folder(BUNDLED[name])
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_the_list_says_what_is_cached_and_where(trimtab: CommandLine) -> None:
    folder = put_into_cache("smollm2-135m-instruct")
    ended = trimtab("models")
    assert ended.code == 0
    assert f"smollm2-135m-instruct: in {folder}" in ended.out
    assert "gemma-3-270m: get it with: trimtab models fetch gemma-3-270m --accept-licence" in ended.out
    for model in BUNDLED.values():
        assert model.licence in ended.out
        assert model.licence_url in ended.out


def test_the_list_as_json(trimtab: CommandLine, cache: Path) -> None:
    put_into_cache("gemma-3-270m")
    models = json.loads(trimtab("models", "--json").out)
    assert [(model["name"], model["cached"]) for model in models] == [(NAMES[0], False), (NAMES[1], True)]
    assert all(Path(model["folder"]).parent == cache / "models" for model in models)
    assert models[1]["must_accept_licence"]
    assert {"description", "licence", "licence_url"} <= models[0].keys()


def test_fetching_prints_the_folder_after_the_licence(trimtab: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(model: BundledModel, *, accept_licence: bool, say: Callable[[str], None]) -> Path:
        asked.append((model.name, accept_licence))
        say("downloading")
        return Path("/somewhere")

    monkeypatch.setattr(bundled, "fetch", fetch)
    ended = trimtab("models", "fetch", "gemma-3-270m", "--accept-licence")
    assert (ended.code, ended.out) == (0, "/somewhere\n")
    lines = ended.err.splitlines()
    assert lines.index("licence: Gemma Terms of Use, https://ai.google.dev/gemma/terms") < lines.index("downloading")
    trimtab("models", "fetch", "smollm2-135m-instruct")
    assert asked == [("gemma-3-270m", True), ("smollm2-135m-instruct", False)]


def test_a_cached_model_is_not_fetched_again(trimtab: CommandLine) -> None:
    folder = put_into_cache("gemma-3-270m")
    ended = trimtab("models", "fetch", "gemma-3-270m")
    assert (ended.code, ended.out) == (0, f"{folder}\n")
    assert "in the cache already" in ended.err


def test_a_licence_that_was_not_accepted_stops_the_download(trimtab: CommandLine) -> None:
    ended = trimtab("models", "fetch", "gemma-3-270m")
    assert (ended.code, ended.out) == (1, "")
    assert "https://ai.google.dev/gemma/terms" in ended.err
    assert "trimtab models fetch gemma-3-270m --accept-licence" in ended.err


def test_an_unknown_model_names_the_nearest(trimtab: CommandLine) -> None:
    ended = trimtab("models", "fetch", "gemma")
    assert (ended.code, ended.out) == (1, "")
    assert "did you mean gemma-3-270m?" in ended.err
