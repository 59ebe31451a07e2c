"""What is said about settings is what the settings are."""

from __future__ import annotations

import pytest

from trimtab.config import KINDS
from trimtab.config.explain import Setting, find, groups, kinds, settings, top_level
from trimtab.errors import UserError


def the(name: str) -> Setting:
    (found,) = find(name)
    return found


def test_every_setting_of_every_kind_is_there() -> None:
    names = [setting.name for setting in settings()]
    assert len(names) == len(set(names))
    for kind, model in KINDS.items():
        assert {name for name in model.model_fields if name != "kind"} <= {one.path for one in find(kind)}
    assert {"ppo.adapter.rank", "sft.adapter.targets", "runtime.threads", "seed", "title", "stages"} <= set(names)


def test_every_setting_is_found_by_its_full_name_and_has_a_meaning() -> None:
    for setting in settings():
        if setting.name not in groups():
            assert setting in find(setting.name)
        assert setting.meaning.endswith(".")
        assert setting.values


def test_kinds_and_the_top_level() -> None:
    assert list(kinds()) == list(KINDS)
    assert kinds()["ppo"].startswith("Reinforcement learning by PPO")
    assert [setting.name for setting in top_level()] == ["title", "seed", "stages", "runtime"]


@pytest.mark.parametrize(
    ("name", "default", "values"),
    [
        ("ppo.kl_coef", 0.05, "number, at least 0"),
        ("ppo.minibatch_size", None, "whole number, above 0, or null"),
        ("sft.learning_rate", 0.0002, "number, above 0"),
        ("sft.schedule", "cosine", "one of constant, linear, cosine"),
        ("sft.adam_betas", [0.9, 0.95], "list of 2: number, at least 0, at most 1"),
        ("sft.adapter.dropout", 0.0, "number, at least 0, below 1"),
        ("sft.adapter.targets", "all-linear", "text or list of text"),
        ("sft.warmup_ratio", 0.1, "number, at least 0, at most 1"),
        ("sft.skip_bad", False, "true or false"),
        ("sft.columns", {}, "name: text, as many as needed"),
        ("sft.seed", None, "whole number, at least 0, or null"),
        ("runtime.precision", "auto", "one of auto, fp32, bf16"),
        ("dpo.beta", 0.1, "number, above 0"),
        ("dpo.num_epochs", 1, "whole number, above 0"),
        ("dpo.prompts_per_step", 16, "whole number, above 0"),
        ("dpo.max_steps", None, "whole number, above 0, or null"),
        ("ppo.importance_cap", 2.0, "number, at least 1, or null"),
        ("grpo.importance_cap", 2.0, "number, at least 1, or null"),
        ("grpo.reward_model", None, "text, or null"),
        ("grpo.group_size", 8, "whole number, above 1"),
        ("grpo.num_epochs", 1, "whole number, above 0"),
        ("grpo.minibatch_size", None, "whole number, above 0, or null"),
        ("grpo.kl_coef", 0.04, "number, at least 0"),
        ("grpo.advantages", "scaled", "one of scaled, centred, leave_one_out"),
        ("grpo.aggregation", "response", "one of token, response"),
        ("grpo.missing_eos_penalty", 0.0, "number, at least 0"),
        ("report.title", "", "text"),
    ],
)
def test_defaults_and_limits(name: str, default: object, values: str) -> None:
    setting = the(name)
    assert (setting.required, setting.default, setting.values) == (False, default, values)


def test_required_settings_have_no_default() -> None:
    assert the("evaluation.models").required
    assert the("evaluation.models").values == "list of text, at least 1 of them"
    assert not the("evaluation.comparisons").required


def test_settings_inside_a_setting() -> None:
    assert [one.path for one in find("sft.adapter")] == [
        "adapter",
        "adapter.rank",
        "adapter.alpha",
        "adapter.dropout",
        "adapter.targets",
    ]
    default = {"rank": 16, "alpha": 32, "dropout": 0.0, "targets": "all-linear"}
    assert (find("sft.adapter")[0].default, find("sft.adapter")[0].values) == (default, "settings of its own, or null")


def test_a_bare_name_finds_every_stage_that_has_it() -> None:
    training = ["sft", "text_tuning", "reward_model", "dpo", "ppo", "grpo"]
    assert [one.name for one in find("kl_target")] == ["ppo.kl_target"]
    assert [one.name for one in find("kl_coef")] == ["ppo.kl_coef", "grpo.kl_coef"]
    assert [one.name for one in find("num_epochs")] == [f"{kind}.num_epochs" for kind in training]
    assert [one.name for one in find("rank")] == [f"{kind}.adapter.rank" for kind in training]
    assert [one.name for one in find("threads")] == ["runtime.threads"]


def test_a_kind_comes_before_a_setting_of_its_name() -> None:
    assert {one.group for one in find("reward_model")} == {"reward_model"}
    assert the("ppo.reward_model").notes == ("May name a stage of kind reward_model.",)


def test_what_the_pipeline_makes_of_a_setting_is_said() -> None:
    assert the("report.evaluation").notes == ("Must name a stage of kind evaluation or text_evaluation.",)
    assert the("sft.model").notes == ("May name a stage of kind sft or text_tuning or dpo or ppo or grpo.",)
    assert the("sft.data").notes == (
        "May name a stage of kind revise or self_instruct.",
        "A path is meant as seen from the recipe's folder.",
    )
    assert the("sft.checkpoint_seconds").notes == ("Changing it makes no stage run again.",)
    assert the("runtime.threads").notes == ("Changing it makes no stage run again.",)
    assert the("ppo.kl_coef").notes == ()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("kl_coeff", "did you mean kl_coef?"),
        ("ppo.klcoef", "did you mean ppo.kl_coef?"),
        ("adaptr.rank", "did you mean adapter.rank?"),
        ("poo", "did you mean ppo?"),
        ("#", "there are: sft, text_tuning, label, judge, revise, "),
        ("", "there are: sft"),
        ("ppo.", "did you mean"),
    ],
)
def test_an_unknown_name_names_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        find(name)
    assert hint in str(caught.value)
