"""Running a recipe: find out what is missing, do it in order, leave what can be gone on with when it is stopped."""

from __future__ import annotations

import gc
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trimtab.config.base import DataStage
from trimtab.config.recipe import Recipe, nearest
from trimtab.errors import Interrupted, RecipeError, UserError
from trimtab.pipeline.artifacts import (
    METRICS,
    Artifact,
    Record,
    artifact_folder,
    call_log,
    data_source,
    now,
    partial_folder,
    publish,
    read_artifact,
    state_folder,
    versions,
)
from trimtab.pipeline.context import PROGRESS, Context
from trimtab.pipeline.data_checks import check_data, learning_stages
from trimtab.pipeline.disk import is_disk_full, locked
from trimtab.pipeline.keys import stage_keys
from trimtab.pipeline.machine import machine
from trimtab.pipeline.record import recorded_config
from trimtab.pipeline.tuning import settle

StageFunction = Callable[[Any, Mapping[str, Artifact], Context], dict[str, Any]]
"""`(settings, artifacts of the stages it refers to by name, context) -> summary`; it writes to `context.folder`."""
Status = Literal["done", "resumable", "missing"]


@dataclass(frozen=True, slots=True)
class Planned:
    """One stage of a recipe: its key, where its artifact lies or will lie, and how far it is."""

    name: str
    kind: str
    key: str
    folder: Path
    inputs: Mapping[str, str]
    status: Status


@dataclass(frozen=True, slots=True)
class Finished:
    """A stage's artifact and whether this run made it."""

    artifact: Artifact
    ran: bool


class Reporter:
    """Hears what a run does; this one keeps quiet."""

    def skipped(self, stage: Planned) -> None:
        """A stage was finished before."""

    def started(self, stage: Planned) -> None:
        """A stage begins, or goes on when its status is resumable."""

    def progress(self, description: str, done: int, total: int, **fields: object) -> None:
        """A stage says how far it is."""

    def told(self, message: str) -> None:
        """The run says something the user should know."""

    def finished(self, artifact: Artifact) -> None:
        """A stage is done."""


def default_store(recipe: Recipe) -> Path:
    """Where a recipe's artifacts go unless told otherwise."""
    return Path("runs") / recipe.name


def plan(recipe: Recipe, store: Path) -> list[Planned]:
    """Every stage of a recipe in running order, with what there is of it in the store."""
    stages = []
    for name, key in stage_keys(recipe).items():
        folder = artifact_folder(store.resolve(), name, key)
        stages.append(Planned(name, recipe.stages[name].kind, key, folder, recipe.edges(name), _status(folder)))
    return stages


def run(
    recipe: Recipe,
    store: Path,
    *,
    until: str | None = None,
    overrides: Sequence[str] = (),
    command: str = "",
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
    functions: Mapping[str, StageFunction] | None = None,
) -> list[Finished]:
    """Make what is missing of a recipe, or of one stage and those it stands on; return all artifacts in order.

    Raises `UserError` with the stage's name in front, and `Interrupted` when `stop` said so: running again goes on.
    """
    if until is not None and until not in recipe.stages:
        raise RecipeError(f"{recipe.path}: there is no stage {until!r}{nearest(until, recipe.stages)}")
    wanted = set(recipe.stages) if until is None else {until, *recipe.upstream(until)}
    reporter = reporter or Reporter()
    command = command or shlex.join(["trimtab", "run", str(recipe.path), *overrides])
    done: dict[str, Finished] = {}
    with locked(store):
        stages = [stage for stage in plan(recipe, store) if stage.name in wanted]
        missing = [stage.name for stage in stages if stage.status != "done"]
        check_data(recipe, missing)
        if missing:
            recipe = replace(recipe, runtime=settle(recipe.runtime, store, reporter.told))
        for stage in stages:
            if stage.status == "done":
                shutil.rmtree(state_folder(stage.folder), ignore_errors=True)
                done[stage.name] = Finished(read_artifact(stage.folder), ran=False)
                reporter.skipped(stage)
                continue
            functions = functions or _stage_functions()
            upstream = {name: done[name].artifact for name in recipe.upstream(stage.name)}
            work = _Work(recipe, stage, upstream, command, reporter, stop)
            done[stage.name] = Finished(work.run(functions[stage.kind]), ran=True)
    return list(done.values())


@dataclass(frozen=True, slots=True)
class _Work:
    """One stage being made."""

    recipe: Recipe
    stage: Planned
    upstream: Mapping[str, Artifact]
    command: str
    reporter: Reporter
    stop: Callable[[], bool]

    def run(self, function: StageFunction) -> Artifact:
        partial, state = partial_folder(self.stage.folder), state_folder(self.stage.folder)
        context: Context | None = None
        try:
            if self.stop():
                raise Interrupted("stopped before it began")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            state.mkdir(exist_ok=True)
            context = self._context(partial, state)
            self.reporter.started(self.stage)
            artifact = self._make(function, context)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            self._note(context)
            explained = self._explained(error)
            if explained is None:
                raise
            raise explained from error
        shutil.rmtree(state, ignore_errors=True)
        gc.collect()  # models hold themselves in cycles; the next stage needs their memory
        self.reporter.finished(artifact)
        return artifact

    def _make(self, function: StageFunction, context: Context) -> Artifact:
        config = self.recipe.stages[self.stage.name]
        inputs = {name: self.upstream[name] for name in self.stage.inputs.values()}
        summary = function(config, inputs, context)
        if stage_keys(self.recipe)[self.stage.name] != self.stage.key:
            raise UserError("its data or its model was changed while it ran, so what it made is of neither; run again")
        log = context.state / METRICS
        if log.exists():
            shutil.copyfile(log, context.folder / METRICS)
        record = Record(
            name=self.stage.name,
            kind=self.stage.kind,
            key=self.stage.key,
            config=recorded_config(config, self.recipe.path.parent),
            inputs={name: one.key for name, one in inputs.items()},
            seconds=round(context.seconds, 3),
            summary=summary,
            versions=versions(),
            machine=machine(self.recipe.runtime),
            created=now(),
        )
        return publish(self.stage.folder, record)

    def _context(self, partial: Path, state: Path) -> Context:
        return Context(
            folder=partial,
            state=state,
            calls=call_log(self.stage.folder.parent, self.stage.name),
            seed=getattr(self.recipe.stages[self.stage.name], "seed", self.recipe.seed),
            runtime=self.recipe.runtime,
            title=self.recipe.title,
            recipe=self.recipe.path,
            folders=tuple(artifact.path for artifact in self.upstream.values()),
            learnt_from=self._learnt_from(),
            command=self.command,
            show=self.reporter.progress,
            tell=lambda message: self.reporter.told(f"{self.stage.name}: warning: {message}"),
            stop=self.stop,
        )

    def _learnt_from(self) -> dict[str, DataStage]:
        """The settings of the stages before this one that learnt from data, with the paths of what stages made."""
        return {
            name: stage.model_copy(update={"data": [data_source(self.upstream, one) for one in stage.sources]})
            for name, stage in learning_stages(self.recipe, self.stage.name).items()
        }

    def _note(self, context: Context | None) -> None:
        """Keep the time that was spent, where the disk still takes it."""
        try:
            if context is not None:
                context.note()
        except OSError:
            pass

    def _explained(self, error: BaseException) -> UserError | None:
        """The error as its reader needs it: which stage, and what to do. None for what is no user's fault."""
        name, store = self.stage.name, self.stage.folder.parent
        if is_disk_full(error):
            return UserError(
                f"{name}: the disk that holds {store} is full. Make room there, or move the folder to another disk and "
                f"name it with --store; then go on with: {self.command}"
            )
        if isinstance(error, Interrupted):
            return Interrupted(f"{name}: {error}\nGo on with: {self.command}")
        if isinstance(error, UserError):
            return type(error)(f"{name}: {error}")
        return None


def _status(folder: Path) -> Status:
    if folder.is_dir():
        return "done"
    state = state_folder(folder)
    kept = {path.name for path in state.iterdir()} - {METRICS, PROGRESS} if state.is_dir() else set()
    return "resumable" if kept else "missing"


def _stage_functions() -> Mapping[str, StageFunction]:
    """The real stages; they import PyTorch, which a run with nothing to do can spare itself."""
    from trimtab.pipeline.stages import STAGES

    return STAGES
