"""What `trimtab explain` prints."""

from __future__ import annotations

import json

import pytest
from tests.cli.world import CommandLine

from trimtab.config import KINDS

TRAINING = ("sft", "text_tuning", "reward_model", "dpo", "ppo", "grpo")


def test_without_a_name_the_kinds_are_listed(trimtab: CommandLine) -> None:
    shown = trimtab("explain").out
    for kind, model in KINDS.items():
        assert kind in shown
        assert (model.__doc__ or "").split(":")[0] in shown
    assert "runtime" in shown
    assert trimtab("explain", "kind").out == shown
    kinds = json.loads(trimtab("explain", "--json").out)
    assert [one["kind"] for one in kinds] == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_lists_its_settings(trimtab: CommandLine, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = trimtab("explain", kind).out
    for name in KINDS[kind].model_fields:
        assert name == "kind" or name in shown
    monkeypatch.setenv("COLUMNS", "80")
    narrow = trimtab("explain", kind).out
    assert "…" not in narrow
    assert all(len(line) <= 80 for line in narrow.splitlines())


def test_a_kind_says_how_a_setting_is_changed(trimtab: CommandLine) -> None:
    assert "trimtab run RECIPE STAGE.model=VALUE" in trimtab("explain", "ppo").out
    assert "trimtab run RECIPE runtime.device=VALUE" in trimtab("explain", "runtime").out


def test_one_setting(trimtab: CommandLine) -> None:
    assert trimtab("explain", "ppo.kl_coef").out.splitlines() == [
        "ppo.kl_coef",
        "  Price of each nat by which the policy drifts from its start.",
        "  default  0.05",
        "  values   number, at least 0",
    ]
    assert trimtab("explain", "kl_target").out == trimtab("explain", "ppo.kl_target").out


def test_stages_that_mean_the_same_share_a_block(trimtab: CommandLine) -> None:
    shown = trimtab("explain", "max_grad_norm").out
    assert shown.splitlines()[0] == ", ".join(f"{kind}.max_grad_norm" for kind in TRAINING)
    assert shown.count("default") == 1
    shown = trimtab("explain", "learning_rate").out
    assert shown.count("default") == 5


def test_settings_inside_others(trimtab: CommandLine) -> None:
    assert "default  16" in trimtab("explain", "adapter.rank").out
    assert ", ".join(f"{kind}.adapter.rank" for kind in TRAINING) in trimtab("explain", "rank").out
    assert "default  rank 16, alpha 32, dropout 0.0, targets all-linear" in trimtab("explain", "sft.adapter").out
    assert "default  null" in trimtab("explain", "runtime.threads").out
    assert "default  empty" in trimtab("explain", "sft.columns").out


def test_one_setting_as_json(trimtab: CommandLine) -> None:
    (one,) = json.loads(trimtab("explain", "ppo.kl_coef", "--json").out)
    assert one == {
        "setting": "ppo.kl_coef",
        "values": "number, at least 0",
        "required": False,
        "default": 0.05,
        "meaning": "Price of each nat by which the policy drifts from its start.",
        "notes": [],
    }


def test_an_unknown_name_is_told(trimtab: CommandLine) -> None:
    ended = trimtab("explain", "kl_coeff")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: nothing in a recipe is called 'kl_coeff'; did you mean kl_coef?\n"
