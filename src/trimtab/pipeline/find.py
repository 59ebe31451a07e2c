"""A model as people write it: `runs/demo/sft` is the newest artifact of that stage; other names stay as they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from trimtab.config.base import POLICIES
from trimtab.config.recipe import nearest
from trimtab.errors import UserError
from trimtab.models.bundled import BUNDLED
from trimtab.pipeline.artifacts import RECORD, STATE, Artifact, artifacts_in, read_artifact


def find_policy(name: str) -> str:
    """What `load_policy` takes for a name that may be `<store>/<stage>`, an artifact's folder, or any model's name.

    Raises `UserError`, saying what there is, for a stage that is absent or unfinished or whose kind does not write.
    """
    path = Path(name).expanduser()
    if (path / RECORD).is_file():
        return _written_by(read_artifact(path), artifacts_in(path.parent))
    if path.is_dir():
        if finished := artifacts_in(path):
            raise UserError(f"{name} is the folder of a run, not a model. {_its_models(path, finished)}")
        return name
    if name in BUNDLED or "/" not in name:
        return name
    store, stage = path.parent, path.name
    finished = artifacts_in(store)
    of_stage = [artifact for artifact in finished if artifact.name == stage]
    if of_stage:
        return _written_by(of_stage[-1], finished)
    if any(store.glob(f"{stage}-*{STATE}")):
        raise UserError(f"the stage {stage} in {store} is not finished. Go on with: trimtab run RECIPE")
    if finished:
        raise UserError(f"there is no finished stage {stage!r} in {store}. {_nearest_stage(stage, finished)}")
    runs = sorted({record.parent.parent.name for record in store.glob(f"*/*/{RECORD}")})
    if runs:
        raise UserError(f"there is no run {stage!r} in {store}{nearest(stage, runs)}")
    if name.count("/") > 1 and not store.is_dir():
        raise UserError(f"there is no folder {store}, so no model in it. The runs there are: trimtab status")
    return name


def find_reward_model(name: str) -> Path | None:
    """The folder of a reward model, by folder or as `<store>/<stage>`; None for what is none."""
    from trimtab.models.loading import is_reward_model

    path = Path(name).expanduser()
    if is_reward_model(path):
        return path
    of_stage = [one for one in artifacts_in(path.parent) if one.name == path.name and one.kind == "reward_model"]
    return of_stage[-1].path if of_stage else None


def _written_by(artifact: Artifact, finished: Iterable[Artifact]) -> str:
    """The artifact's folder, if it is a model that writes."""
    if artifact.kind in POLICIES:
        return str(artifact.path)
    raise UserError(
        f"{artifact.path} was made by a stage of kind {artifact.kind}, which writes no text: stages of kind "
        f"{', '.join(POLICIES[:-1])} and {POLICIES[-1]} do. {_its_models(artifact.path.parent, finished)}"
    )


def _its_models(store: Path, finished: Iterable[Artifact]) -> str:
    names = dict.fromkeys(str(store / artifact.name) for artifact in finished if artifact.kind in POLICIES)
    return f"Its models are: {', '.join(names)}" if names else f"{store} has no finished model yet."


def _nearest_stage(stage: str, finished: Iterable[Artifact]) -> str:
    kinds = {artifact.name: artifact.kind for artifact in finished}
    close = difflib.get_close_matches(stage, kinds, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]}? " if close else ""
    return f"{hint}Finished there: {', '.join(f'{name} ({kind})' for name, kind in kinds.items())}"
