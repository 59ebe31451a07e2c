"""Recipes: what they come to, and that every mistake is told with its place and the nearest remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.config.world import OTHERS, RECIPE, write_recipe

from trimtab.config import DPOStage, EvaluationStage, GRPOStage, PPOStage, ReportStage, SFTStage, load_recipe
from trimtab.errors import RecipeError


def told(path: Path, *overrides: str) -> str:
    """The message a recipe is refused with."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_stages_come_in_running_order_whatever_the_order_written(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert list(recipe.stages) == ["sft", "reward_model", "policy", "held_out", "report"]
    assert recipe.edges("policy") == {"model": "sft", "reward_model": "reward_model"}
    assert recipe.edges("held_out") == {"models.sft": "sft", "models.policy": "policy", "reward_model": "reward_model"}
    assert recipe.upstream("policy") == ["sft", "reward_model"]
    assert recipe.upstream("report") == ["sft", "reward_model", "policy", "held_out"]
    assert recipe.name == "desk"


def test_the_kind_is_the_name_where_that_is_a_kind(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    assert isinstance(recipe.stages["sft"], SFTStage)
    assert isinstance(recipe.stages["policy"], PPOStage)


def test_seed_and_title_are_the_recipes_unless_a_stage_has_its_own(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    seeds = {name: getattr(stage, "seed", None) for name, stage in recipe.stages.items()}
    assert seeds == {"sft": 17, "reward_model": 3, "policy": 17, "held_out": 17, "report": None}
    report = recipe.stages["report"]
    assert isinstance(report, ReportStage)
    assert report.title == "Expense desk"


def test_paths_are_seen_from_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    path = write_recipe(tmp_path / "own", RECIPE.replace("model: smollm2-135m-instruct", "model: model"))
    monkeypatch.chdir(tmp_path)
    sft = load_recipe("own/desk.yaml").stages["sft"]
    assert isinstance(sft, SFTStage)
    assert sft.data == str(path.parent / "data" / "demonstrations.jsonl")
    assert sft.model == str(path.parent / "model")


def test_a_path_in_an_override_is_seen_from_where_the_user_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_recipe(tmp_path / "own")
    (tmp_path / "mine.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path)
    sft = load_recipe(path, ["sft.data=mine.jsonl"]).stages["sft"]
    assert isinstance(sft, SFTStage)
    assert sft.data == str(tmp_path / "mine.jsonl")


def test_a_hub_data_set_stays_as_it_is(tmp_path: Path) -> None:
    sft = load_recipe(write_recipe(tmp_path), ["sft.data=hf:owner/name:train"]).stages["sft"]
    assert isinstance(sft, SFTStage)
    assert sft.data == "hf:owner/name:train"


def test_columns_are_renamed_in_training_and_evaluation(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path), ["policy.columns.prompt=question", "held_out.columns={prompt: q}"])
    policy, held_out = recipe.stages["policy"], recipe.stages["held_out"]
    assert isinstance(policy, PPOStage)
    assert isinstance(held_out, EvaluationStage)
    assert (policy.columns, held_out.columns, held_out.skip_bad) == ({"prompt": "question"}, {"prompt": "q"}, False)


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:12"])
def test_devices(tmp_path: Path, device: str) -> None:
    assert load_recipe(write_recipe(tmp_path), [f"runtime.device={device}"]).runtime.device == device


def test_no_evaluated_stage_is_called_as_the_model_before_training(tmp_path: Path) -> None:
    renamed = RECIPE.replace("  sft:\n", "  base:\n    kind: sft\n").replace("model: sft", "model: base")
    assert load_recipe(write_recipe(tmp_path, renamed.replace("[sft, policy]", "[policy]"))).stages
    said = told(write_recipe(tmp_path, renamed.replace("[sft, policy]", "[base, policy]")))
    assert "stages.held_out.models: in an evaluation, base is the model before training; rename that stage" in said


def test_overrides(tmp_path: Path) -> None:
    changes = ["policy.kl_coef=2e-1", "seed=3", "runtime.threads=1", "sft.adapter.rank=8", "held_out.models=[policy]"]
    recipe = load_recipe(write_recipe(tmp_path), [*changes, "stages.policy.kl_target=6", "reward_model.adapter=null"])
    policy, sft = recipe.stages["policy"], recipe.stages["sft"]
    assert isinstance(policy, PPOStage)
    assert isinstance(sft, SFTStage)
    assert (policy.kl_coef, policy.kl_target, policy.seed) == (0.2, 6.0, 3)
    assert recipe.runtime.threads == 1
    assert sft.adapter is not None
    assert (sft.adapter.rank, sft.adapter.alpha) == (8, 32)
    assert recipe.stages["reward_model"].adapter is None  # type: ignore[attr-defined]
    assert recipe.edges("held_out")["models.policy"] == "policy"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sft.lerning_rate=1", "stages.sft.lerning_rate: unknown key; did you mean learning_rate?"),
        ("sft.adapter.rnk=1", "stages.sft.adapter.rnk: unknown key; did you mean rank?"),
        ("runtime.thread=1", "runtime.thread: unknown key; did you mean threads?"),
        ("runtime.zzz=1", "runtime.zzz: unknown key; there are: device, threads, precision"),
        ("polcy.kl_coef=1", "the override 'polcy.kl_coef=1': unknown name 'polcy'; did you mean policy?"),
        ("sed=1", "the override 'sed=1': unknown name 'sed'; did you mean seed?"),
        ("sft.data.x=1", "data holds 'data/demonstrations.jsonl' and has nothing inside it"),
        ("sft", "the override 'sft' is not written as stage.setting=value"),
        ("sft..data=1", "the override 'sft..data=1' is not written as stage.setting=value"),
        (
            "runtime.device=gpu",
            "runtime.device: string should match pattern '^(auto|cpu|mps|cuda(:[0-9]+)?)$', not 'gpu'",
        ),
        ("sft.columns={prompt: 3}", "stages.sft.columns.prompt: input should be a valid string, not 3"),
        ("sft.num_epochs=0", "stages.sft.num_epochs: input should be greater than 0, not 0"),
        ("sft.num_epochs=2.5", "stages.sft.num_epochs: input should be a valid integer, not 2.5"),
        ("sft.num_epochs=[", "line 1, column 2: not valid YAML"),
        ("sft.learning_rate=.nan", "stages.sft.learning_rate: input should be a finite number, not nan"),
        ("sft.schedule=cosin", "stages.sft.schedule: input should be 'constant', 'linear' or 'cosine', not 'cosin'"),
        ("policy.gamma=1.5", "stages.policy.gamma: input should be less than or equal to 1, not 1.5"),
        ("sft.adam_betas=[0.9]", "stages.sft.adam_betas.1: this is missing"),
        ("policy.whiten_rewards=yes", "stages.policy.whiten_rewards: input should be a valid boolean, not 'yes'"),
        ("held_out.models=[]", "stages.held_out.models: list should have at least 1 item"),
        (
            "policy.model=reward_model",
            "stages.policy.model: reward_model is a stage of kind reward_model; here it must",
        ),
        (
            "held_out.models=[report]",
            "stages.held_out.models: report is a stage of kind report; here it must be sft or",
        ),
        ("report.evaluation=held_ot", "stages.report.evaluation: there is no stage 'held_ot'; did you mean held_out?"),
        ("sft.model=policy", "stages: sft -> policy -> sft is a cycle"),
        ("sft.model=sft", "stages: sft -> sft is a cycle"),
        ("sft.kind=stf", "stages.sft.kind: there is no kind 'stf'; did you mean sft?"),
        ("policy.data=null", "stages.policy.data: must be a text or a list of texts, not None"),
        ("policy.kind=null", "stages.policy.kind: there is no kind None"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, override: str, expected: str) -> None:
    path = write_recipe(tmp_path)
    message = told(path, override)
    assert expected in message
    assert message.startswith(str(path))


def test_dpo_and_grpo_stages(tmp_path: Path) -> None:
    """What is not written is the default; null turns the importance weights and the reward model off."""
    recipe = load_recipe(write_recipe(tmp_path, OTHERS))
    dpo, grpo, checked = (recipe.stages[name] for name in ("dpo", "grpo", "checked"))
    assert isinstance(dpo, DPOStage)
    assert isinstance(grpo, GRPOStage)
    assert isinstance(checked, GRPOStage)
    assert (dpo.beta, dpo.learning_rate, dpo.num_epochs) == (0.5, 5e-5, 1)
    assert (grpo.aggregation, grpo.importance_cap, grpo.kl_coef, grpo.group_size) == ("response", 2.0, 0.04, 8)
    assert (checked.aggregation, checked.importance_cap, checked.reward_model) == ("token", None, None)
    assert recipe.edges("dpo") == {"model": "sft"}
    assert recipe.edges("grpo") == {"model": "dpo", "reward_model": "reward_model"}
    assert recipe.edges("checked") == {"model": "grpo"}
    assert recipe.upstream("checked") == ["sft", "reward_model", "dpo", "grpo"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("grpo.group_size=1", "stages.grpo.group_size: input should be greater than 1, not 1"),
        ("grpo.kl_coef=-0.1", "stages.grpo.kl_coef: input should be greater than or equal to 0"),
        ("grpo.aggregation=sequence", "stages.grpo.aggregation: input should be 'token' or 'response', not 'sequence'"),
        ("grpo.importance_cap=0.5", "stages.grpo.importance_cap: input should be greater than or equal to 1, not 0.5"),
        ("grpo.value_warmup_steps=2", "stages.grpo.value_warmup_steps: unknown key"),
        ("grpo.reward_model=dpo", "stages.grpo.reward_model: dpo is a stage of kind dpo; here it must be reward_model"),
        (
            "grpo.model=reward_model",
            "stages.grpo.model: reward_model is a stage of kind reward_model; here it must be sft",
        ),
        ("dpo.model=checked", "is a cycle"),
        ("dpo.beta=0", "stages.dpo.beta: input should be greater than 0, not 0"),
        ("dpo.reward_model=reward_model", "stages.dpo.reward_model: unknown key"),
        ("dpo.learning_rate=null", "stages.dpo.learning_rate: input should be a valid number"),
    ],
)
def test_what_is_wrong_with_dpo_and_grpo_is_told(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in told(write_recipe(tmp_path, OTHERS), override)


def test_absent_data_is_told_by_its_path(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    (tmp_path / "data" / "prompts.jsonl").unlink()
    assert f"stages.policy.data: there is no file or folder {tmp_path / 'data' / 'prompts.jsonl'}" in told(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages: {}", "stages: dictionary should have at least 1 item"),
        ("seed: 1", "stages: this is missing"),
        ("stages: [sft]", "stages: input should be a valid dictionary, not ['sft']"),
        ("- sft", "a recipe is settings (name: value) with stages among them"),
        ("", "a recipe is settings (name: value) with stages among them"),
        ("stages: {sft: [1]}", "stages.sft: a stage is written as settings (name: value), not as [1]"),
        ("stages: {warm up: {kind: sft}}", "stages.warm up: this name cannot be used"),
        ("stages: {seed: {kind: sft}}", "stages.seed: this name cannot be used"),
        (
            "stages: {tune: {model: m}}",
            "stages.tune.kind: say which kind of stage 'tune' is; there are: sft, text_tuning",
        ),
        ("stages: {sft: {data: data}}", "stages.sft.model: this is missing"),
        ("stages: {sft: }", "stages.sft.model: this is missing"),
        ("stags: {}", "stags: unknown key; did you mean stages?"),
        ("seed: 1\nseed: 2\nstages: {}", "line 2: the key 'seed' comes twice"),
        ("stages:\n  sft: {seed: 1, seed: 2}", "line 2: the key 'seed' comes twice"),
        ("seed: 1\nstages: {{ name }}", "line 2: a name is plain text, not a list or {...}; write {{ }} in quotes"),
        ("stages:\n\tsft: 1", "line 2, column 1: not valid YAML"),
    ],
)
def test_a_recipe_that_is_none_is_told(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in told(write_recipe(tmp_path, text))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    lines = told(write_recipe(tmp_path), "sft.num_epochs=0", "policy.clip_eps=-1", "runtime.x=1").splitlines()
    places = [line.split(": ")[1] for line in lines]
    assert sorted(places) == ["runtime.x", "stages.policy.clip_eps", "stages.sft.num_epochs"]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "the recipe cannot be read: No such file" in told(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not text in UTF-8" in told(tmp_path / "binary.yaml")
