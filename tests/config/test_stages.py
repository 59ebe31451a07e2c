"""The settings of stages fit the loops they are unpacked for, and say what they mean."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from pydantic import ValidationError

from trimtab.config import KINDS, Adapter, JudgeStage, Runtime
from trimtab.config.load import Header
from trimtab.training.dpo import train_dpo
from trimtab.training.grpo import GRPOSettings
from trimtab.training.ppo import PPOSettings
from trimtab.training.reward_model import on_comparisons, train_reward_model
from trimtab.training.sft import train_sft
from trimtab.training.step import OptimizerSettings

NOT_SETTINGS = {"policy", "model", "reference", "rows", "settings", "run", "pad_id", "seed", "passes", "objective"}


@pytest.mark.parametrize("kind", ["sft", "reward_model", "dpo", "ppo", "grpo"])
def test_the_optimisers_settings_are_there_with_their_defaults(kind: str) -> None:
    fields = KINDS[kind].model_fields
    for field in dataclasses.fields(OptimizerSettings):
        assert field.name in fields
        if field.default is not dataclasses.MISSING:
            assert fields[field.name].default == field.default


@pytest.mark.parametrize(("kind", "settings"), [("ppo", PPOSettings), ("grpo", GRPOSettings)])
def test_a_methods_settings_are_there(kind: str, settings: type) -> None:
    assert {field.name for field in dataclasses.fields(settings)} <= set(KINDS[kind].model_fields)


@pytest.mark.parametrize(
    ("kind", "loop"),
    [
        ("sft", train_sft),
        ("reward_model", train_reward_model),
        ("reward_model", on_comparisons),
        ("dpo", train_dpo),
    ],
)
def test_what_a_loop_asks_for_is_there(kind: str, loop: object) -> None:
    assert set(inspect.signature(loop).parameters) - NOT_SETTINGS <= set(KINDS[kind].model_fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [*KINDS.values(), Adapter, Runtime, Header])
def test_every_setting_is_described_in_a_sentence(model: type) -> None:
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        if name != "kind":
            assert field.description, name
            assert field.description.endswith("."), name


@pytest.mark.parametrize("stage", KINDS.values())
def test_what_refers_to_something_is_a_setting(stage: type) -> None:
    named = {*stage.references, *stage.stage_only, *stage.files}  # type: ignore[attr-defined]
    assert named <= set(stage.model_fields)  # type: ignore[attr-defined]


def test_the_limits_of_a_probability_are_in_order() -> None:
    settings = {"data": "pairs.jsonl", "judge": "model", "thinking": 100}
    assert JudgeStage.model_validate({**settings, "clamp": [0.5, 0.5]}).clamp == (0.5, 0.5)
    with pytest.raises(ValidationError, match=r"the lower limit comes first .*: \[0\.4, 0\.6\]"):
        JudgeStage.model_validate({**settings, "clamp": [0.6, 0.4]})
