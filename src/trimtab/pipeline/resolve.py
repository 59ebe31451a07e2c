"""From what a recipe says to what code needs: folders of models, a device, a number type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from trimtab.config import Runtime
from trimtab.config.endpoint import EndpointSettings
from trimtab.data.chat import ChatTemplate
from trimtab.errors import UserError
from trimtab.generation.endpoint import Endpoint
from trimtab.models.hardware import choose_device, choose_dtype
from trimtab.models.loading import load_bilinear_reward, load_policy, load_reward_model
from trimtab.models.policy import Policy
from trimtab.models.registry import is_bilinear, load_tokenizer
from trimtab.models.reward_model import RewardModel
from trimtab.pipeline.artifacts import Artifact

Inputs = Mapping[str, Artifact]
"""Finished artifacts of the stages that a stage refers to, by stage name."""


def source(inputs: Inputs, name: str) -> str:
    """Where a model comes from: the folder of an earlier stage's artifact, or the name itself."""
    return str(inputs[name].path) if name in inputs else name


def hardware(runtime: Runtime) -> tuple[torch.device, torch.dtype]:
    """The device to compute on, and the number type of its matrix products. Sets the number of threads.

    Raises `UserError` for a device that PyTorch cannot use here.
    """
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    device = choose_device(runtime.device)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        reason = str(error).partition("\n")[0]
        raise UserError(f"runtime.device={runtime.device} cannot be used here: {reason}. Set it to auto") from error
    return device, choose_dtype(runtime.precision, device)


def load_writer(model: str, runtime: Runtime, *, chat_template: str | None = None, allow_remote_code: bool) -> Policy:
    """A policy that only writes: its weights are in the number type of its products."""
    device, dtype = hardware(runtime)
    return load_policy(
        model,
        weights_dtype=dtype,
        compute_dtype=dtype,
        device=device,
        chat_template=chat_template,
        allow_remote_code=allow_remote_code,
    )


def load_scorer(folder: Path, runtime: Runtime, *, allow_remote_code: bool) -> tuple[RewardModel, ChatTemplate]:
    """A reward model with a trunk of its own, and the template that it reads texts through."""
    device, dtype = hardware(runtime)
    load = load_bilinear_reward if is_bilinear(folder) else load_reward_model
    model = load(folder, compute_dtype=dtype, device=device, allow_remote_code=allow_remote_code)
    return model, ChatTemplate(load_tokenizer(str(folder)))


def open_endpoint(settings: EndpointSettings, log: Path) -> Endpoint:
    """The model that a recipe's endpoint block names. `log` is the file its calls are kept in and replayed from."""
    return Endpoint(log=log, **settings.model_dump())
