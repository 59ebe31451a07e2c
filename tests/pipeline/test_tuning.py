"""Threads and number type: what is chosen from which speeds, that it is told, and that a run keeps its choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.config import Runtime
from trimtab.pipeline import tuning
from trimtab.pipeline.tuning import FILE, Speeds, measured, settle


def speeds(**by_name: float) -> Speeds:
    return Speeds("a processor", 4, "2", {name[1:].replace("_", " "): speed for name, speed in by_name.items()})


FAST_BF16 = speeds(_4_fp32=1.0, _4_bf16=3.0, _2_fp32=0.6, _2_bf16=1.6)
SLOW_BF16 = speeds(_4_fp32=1.0, _4_bf16=1.1, _2_fp32=0.6, _2_bf16=0.1)
CROWDED = speeds(_4_fp32=0.5, _4_bf16=0.6, _2_fp32=0.8, _2_bf16=1.0)


@pytest.mark.parametrize(
    ("found", "runtime", "expected"),
    [
        (FAST_BF16, {}, (4, "bf16")),
        (SLOW_BF16, {}, (4, "fp32")),  # a tenth faster is not worth the rounding
        (CROWDED, {}, (2, "bf16")),  # 1.0 against 0.8
        (FAST_BF16, {"precision": "fp32"}, (4, "fp32")),
        (CROWDED, {"precision": "fp32"}, (2, "fp32")),
        (FAST_BF16, {"threads": 2}, (2, "bf16")),
        (SLOW_BF16, {"threads": 2}, (2, "fp32")),
        (FAST_BF16, {"threads": 3}, (3, "bf16")),  # not measured: judged by the fastest
    ],
)
def test_the_choice_by_hand(found: Speeds, runtime: dict[str, object], expected: tuple[int, str]) -> None:
    assert found.best(Runtime(**runtime)) == expected


def test_what_is_fixed_is_not_measured(tmp_path: Path) -> None:
    fixed = Runtime(device="cpu", threads=3, precision="fp32")
    assert settle(fixed, tmp_path, pytest.fail) is fixed
    assert not (tmp_path / FILE).exists()


def test_a_store_keeps_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the machine seems to have another speed today; another processor or PyTorch is measured anew."""
    told: list[str] = []
    here = measured()
    monkeypatch.setattr(tuning, "measured", lambda: Speeds(here.processor, here.cores, here.torch, FAST_BF16.speeds))
    first = settle(Runtime(device="cpu"), tmp_path, told.append)
    assert (first.threads, first.precision) == (4, "bf16")
    assert told[0].startswith("Computing on 4 threads in bf16. TFLOP/s measured here: fp32 on 4 threads 1.00,")
    other = Speeds(here.processor, here.cores, here.torch, SLOW_BF16.speeds)
    monkeypatch.setattr(tuning, "measured", lambda: other)
    assert settle(Runtime(device="cpu"), tmp_path, told.append) == first
    monkeypatch.setattr(tuning, "processor", lambda: "another")
    assert settle(Runtime(device="cpu"), tmp_path, told.append).precision == "fp32"


def test_a_measurement_leaves_the_threads_as_they_were() -> None:
    import torch

    before = torch.get_num_threads()
    found = measured()
    assert torch.get_num_threads() == before
    assert f"{before} fp32" in found.speeds
    assert all(speed > 0 for speed in found.speeds.values())


def test_a_moments_disturbance_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each combination counts by its fastest round."""
    slowed = iter([0.1, 0.2, 0.3])

    def speed(threads: int, precision: str) -> float:
        return next(slowed, 1.0) * (2.0 if precision == "fp32" else 1.0)

    monkeypatch.setattr(tuning, "_speed", speed)
    found = measured.__wrapped__()
    assert {name.split()[1]: speed for name, speed in found.speeds.items()} == {"fp32": 2.0, "bf16": 1.0}
    assert set(found.speeds.values()) == {2.0, 1.0}
