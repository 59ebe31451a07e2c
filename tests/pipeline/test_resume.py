"""A stage that was stopped goes on: its state, its log and its clock survive."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.world import Kitchen

from trimtab.errors import Interrupted
from trimtab.pipeline import context as context_module
from trimtab.pipeline.artifacts import METRICS
from trimtab.pipeline.runner import plan
from trimtab.pipeline.status import status_of


def counting(last: int, stop_at: int | None = None) -> Any:
    """A stage of numbered steps that saves each one, and may be stopped after one of them."""

    def work(context: Any) -> None:
        saved = sorted(int(path.name.removeprefix("step-")) for path in context.state.glob("step-*"))
        start = saved[-1] if saved else 0
        context.rewind_log(start)
        for step in range(start + 1, last + 1):
            context.log({"step": step, "loss": 1 / step})
            context.progress("counting", step, last, loss=1 / step)
            if step == stop_at:
                raise Interrupted(f"stopped after step {step} of {last}; the state is saved")
            (context.state / f"step-{step}").mkdir()

    return work


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / METRICS).read_text().splitlines()]


def test_a_stopped_stage_goes_on_where_it_was(kitchen: Kitchen) -> None:
    kitchen.does("sft", counting(5, stop_at=3))
    with pytest.raises(Interrupted, match=r"^sft: stopped after step 3 of 5.*\nGo on with: trimtab run desk.yaml$"):
        kitchen.run(until="sft", command="trimtab run desk.yaml")
    assert plan(kitchen.recipe(), kitchen.store)[0].status == "resumable"
    assert kitchen.visible() == []

    kitchen.does("sft", counting(5))
    (finished,) = kitchen.run(until="sft")
    # Step 3 was logged but not saved, so it is done again; it stands in the log once.
    assert steps(finished.artifact.path) == [1, 2, 3, 4, 5]
    assert kitchen.left(".state") == []


def test_seconds_add_up_over_sessions(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(context_module.time, "monotonic", lambda: clock[0])

    def work(seconds: float, stop: bool) -> Any:
        def stage(context: Any) -> None:
            (context.state / "step-1").mkdir(exist_ok=True)
            clock[0] += seconds
            if stop:
                raise Interrupted("stopped")

        return stage

    kitchen.does("sft", work(40, stop=True))
    with pytest.raises(Interrupted):
        kitchen.run(until="sft")
    clock[0] += 1000  # the night between
    kitchen.does("sft", work(2.5, stop=False))
    (finished,) = kitchen.run(until="sft")
    assert finished.artifact.record.seconds == 42.5


def test_a_stop_before_a_stage_leaves_it_missing(kitchen: Kitchen) -> None:
    asked: list[bool] = []
    kitchen.does("sft", lambda context: asked.append(context.stop_requested()))
    with pytest.raises(Interrupted, match="reward_model: stopped before it began"):
        kitchen.run(stop=lambda: bool(asked))
    assert asked == [False]
    assert kitchen.visible() == ["sft"]


def test_a_line_that_a_kill_cut_short_is_dropped(kitchen: Kitchen) -> None:
    def work(context: Any) -> None:
        context.log({"step": 1})
        with (context.state / METRICS).open("a") as file:
            file.write('{"step": 2, "lo')
        context.rewind_log(2)
        context.log({"step": 2})

    kitchen.does("sft", work)
    (finished,) = kitchen.run(until="sft")
    assert steps(finished.artifact.path) == [1, 2]


def test_status_tells_what_is_under_way(kitchen: Kitchen) -> None:
    kitchen.does("reward_model", counting(8, stop_at=3))
    with pytest.raises(Interrupted):
        kitchen.run()
    (store,) = status_of(kitchen.store)
    assert not store.running
    assert [(one.name, one.kind, one.progress) for one in store.stages] == [
        ("sft", "sft", "done"),
        ("reward_model", "", "counting 3/8, saved at step 2"),
    ]
    assert status_of(kitchen.store.parent) == [store]


STAGE_THAT_WAITS = """
import sys, time
from pathlib import Path
from trimtab.config import load_recipe
from trimtab.errors import Interrupted
from trimtab.pipeline.runner import run
from trimtab.pipeline.stopping import stop_on_signals

def sft(config, inputs, context):
    print("waiting", flush=True)
    while not (sys.argv[3] == "polite" and context.stop_requested()):
        time.sleep(0.01)
    (context.state / "step-1").mkdir()
    raise Interrupted("the state is saved")

with stop_on_signals(lambda message: print(message, flush=True)) as stop:
    try:
        run(load_recipe(sys.argv[1]), Path(sys.argv[2]), stop=stop, functions={"sft": sft})
    except Interrupted as error:
        print(error)
    except KeyboardInterrupt:
        print("stopped at once")
"""


def waiting_run(kitchen: Kitchen, manner: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STAGE_THAT_WAITS, str(kitchen.path), str(kitchen.store), manner]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    return process


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_the_first_signal_stops_at_a_safe_point(kitchen: Kitchen, signal: str) -> None:
    process = waiting_run(kitchen, "polite")
    (store,) = status_of(kitchen.store)
    assert store.running
    process.send_signal(getattr(__import__("signal"), signal))
    output, _ = process.communicate(timeout=20)
    assert "Stopping as soon as the state is saved. Once more stops at once." in output
    assert "sft: the state is saved\nGo on with: trimtab run" in output
    assert plan(kitchen.recipe(), kitchen.store)[0].status == "resumable"
    assert kitchen.left(".partial") == []


def test_the_second_signal_stops_at_once(kitchen: Kitchen) -> None:
    process = waiting_run(kitchen, "deaf")
    assert process.stdout is not None
    process.send_signal(2)
    assert process.stdout.readline().startswith("Stopping as soon as")
    time.sleep(0.05)
    process.send_signal(2)
    output, _ = process.communicate(timeout=20)
    assert output == "stopped at once\n"
    assert kitchen.visible() == kitchen.left(".partial") == []
