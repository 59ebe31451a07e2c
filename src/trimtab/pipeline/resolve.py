"""From what a recipe says to what code needs: folders of models, a device, a number type."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trimtab.config import Runtime
from trimtab.models.hardware import choose_device, choose_dtype
from trimtab.pipeline.artifacts import Artifact

Inputs = Mapping[str, Artifact]
"""Finished artifacts of the stages that a stage refers to, by stage name."""


def source(inputs: Inputs, name: str) -> str:
    """Where a model comes from: the folder of an earlier stage's artifact, or the name itself."""
    return str(inputs[name].path) if name in inputs else name


def hardware(runtime: Runtime) -> tuple[torch.device, torch.dtype]:
    """The device to compute on, and the number type of its matrix products. Sets the number of threads."""
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    device = choose_device(runtime.device)
    return device, choose_dtype(runtime.precision, device)
