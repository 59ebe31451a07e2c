"""What a recipe says about hardware, against the hardware there is."""

from __future__ import annotations

import pytest
import torch

from trimtab.config import Runtime
from trimtab.errors import UserError
from trimtab.pipeline.resolve import hardware


def test_a_device_that_is_there() -> None:
    assert hardware(Runtime(device="cpu", precision="fp32")) == (torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "mps"])
def test_a_device_that_is_not_there_is_told(device: str) -> None:
    there = torch.backends.mps.is_available() if device == "mps" else device == "cuda" and torch.cuda.is_available()
    if there:
        pytest.skip("this machine has it")
    with pytest.raises(UserError, match=rf"^runtime\.device={device} cannot be used here: .*\. Set it to auto$"):
        hardware(Runtime(device=device))
