"""What a recipe says about hardware and servers, against what there is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab.config import Runtime
from trimtab.config.endpoint import EndpointSettings
from trimtab.errors import UserError
from trimtab.generation.endpoint import Endpoint
from trimtab.pipeline.resolve import hardware, open_endpoint


def test_a_device_that_is_there() -> None:
    assert hardware(Runtime(device="cpu", precision="fp32")) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_told(device: str) -> None:
    there = torch.backends.mps.is_available() if device == "mps" else device == "cuda" and torch.cuda.is_available()
    if there:
        pytest.skip("this machine has it")
    with pytest.raises(UserError, match=rf"^runtime\.device={device} cannot be used here: .*\. Set it to auto$"):
        hardware(Runtime(device=device))


def test_an_endpoint_gets_every_setting_of_its_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings and the class must not drift apart."""
    got: dict[str, Any] = {}
    monkeypatch.setattr("trimtab.pipeline.resolve.Endpoint", lambda **settings: got.update(settings))
    settings = EndpointSettings(base_url="http://localhost:1/v1", model="m", timeout=5.0, price_output=2.0)
    open_endpoint(settings, tmp_path / "log")
    assert got == {"log": tmp_path / "log", **settings.model_dump()}
    parameters = inspect.signature(Endpoint).parameters
    optional = {name for name, field in EndpointSettings.model_fields.items() if not field.is_required()}
    assert {name: parameters[name].default for name in optional} == {
        name: EndpointSettings.model_fields[name].default for name in optional
    }
    assert set(parameters) == set(got)
