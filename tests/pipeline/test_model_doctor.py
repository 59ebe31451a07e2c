"""Checks of a model: a sound one passes, and each check finds what it is there for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.data.tiny_tokenizers import STYLES
from tests.data.tiny_tokenizers import tiny as tiny_tokenizer
from tests.training.world import tiny_policy

from trimtab.data.chat import ChatTemplate
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.pipeline import model_doctor
from trimtab.pipeline.model_doctor import (
    check_end_of_turn,
    check_files,
    check_greedy,
    check_model,
    check_padding,
    check_special_text,
    check_speed,
)
from trimtab.types import Prompt

CHECKS = ["model", "files", "padding", "end of turn", "special tokens", "engine", "speed"]


def engine_of(policy: Policy) -> Engine:
    return Engine(policy.model, stop_ids=policy.template.stop_ids, pad_id=policy.template.pad_id)


def test_a_sound_model_passes(tmp_path: Path) -> None:
    tiny_policy().save(tmp_path / "model")
    findings = check_model(str(tmp_path / "model"))
    assert [(finding.check, finding.status) for finding in findings] == [(check, "ok") for check in CHECKS]


def test_an_adapter_is_checked_with_its_base(tmp_path: Path) -> None:
    tiny_policy().save(tmp_path / "base")
    policy = tiny_policy(adapter=True)
    policy.model.peft_config["policy"].base_model_name_or_path = str(tmp_path / "base")  # type: ignore[attr-defined]
    policy.save(tmp_path / "adapter")
    assert {finding.status for finding in check_model(str(tmp_path / "adapter"))} == {"ok"}
    (tmp_path / "base" / "pytorch_model.bin").write_bytes(b"")
    assert check_model(str(tmp_path / "adapter"))[1].status == "warning"


def test_what_cannot_be_loaded_is_a_problem(tmp_path: Path) -> None:
    (finding,) = check_model(str(tmp_path))
    assert (finding.check, finding.status) == ("model", "problem")
    assert "no model folder" in finding.detail
    (finding,) = check_model("smollm2-135-instruct")
    assert "Did you mean 'smollm2-135m-instruct'" in finding.detail


def test_a_pickle_beside_the_weights_is_a_warning(tmp_path: Path) -> None:
    assert check_files([tmp_path]).status == "ok"
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    finding = check_files([tmp_path])
    assert finding.status == "warning"
    assert str(tmp_path / "pytorch_model.bin") in finding.detail


@pytest.mark.parametrize("style", STYLES)
def test_templates_of_every_style_pass(style: str) -> None:
    template = ChatTemplate(tiny_tokenizer(style))
    for check in (check_padding, check_end_of_turn, check_special_text):
        assert check(template).status == "ok"


def test_a_pad_token_that_ends_a_turn_is_found() -> None:
    template = ChatTemplate(tiny_tokenizer("chatml"))
    assert "not used" in check_padding(template).detail  # this tokenizer pads with <|im_end|> itself
    template.pad_id = template.end_of_turn_id
    assert check_padding(template).status == "problem"


def test_a_demonstration_that_does_not_end_is_found() -> None:
    class Endless(ChatTemplate):
        def response_ids(self, text: str) -> list[int]:
            return super().response_ids(text)[:-1]

    assert check_end_of_turn(Endless(tiny_tokenizer("chatml"))).status == "problem"


def test_a_message_that_can_end_a_turn_is_found() -> None:
    class Trusting(ChatTemplate):
        def prompt_ids(self, prompt: Prompt) -> list[int]:
            messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
            return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]

    finding = check_special_text(Trusting(tiny_tokenizer("chatml")))
    assert finding.status == "problem"
    assert "<|im_end|>" in finding.detail


def test_an_engine_that_writes_something_else_is_found() -> None:
    policy, other = tiny_policy(0), tiny_policy(1)
    assert check_greedy(policy, engine_of(policy), torch.float32).status == "ok"
    assert check_greedy(policy, engine_of(other), torch.float32).status == "problem"


def test_the_comparison_is_with_attention_as_transformers_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    before, used = policy.trunk.config._attn_implementation, []
    whole = type(policy.model).generate

    def generate(self: Any, *args: Any, **options: Any) -> Any:
        used.append(self.config._attn_implementation)
        return whole(self, *args, **options)

    monkeypatch.setattr(type(policy.model), "generate", generate)
    check_greedy(policy, engine_of(policy), torch.float32)
    assert used == ["sdpa"]
    assert policy.trunk.config._attn_implementation == before


def test_the_models_own_penalties_do_not_matter() -> None:
    policy = tiny_policy()
    policy.model.generation_config.repetition_penalty = 9.0
    assert check_greedy(policy, engine_of(policy), torch.float32).status == "ok"
    assert policy.model.generation_config.repetition_penalty == 9.0


@pytest.mark.parametrize(("gap", "status"), [(0.0005, "ok"), (0.01, "problem")])
def test_only_a_tie_may_be_decided_otherwise(gap: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    theirs, logits = model_doctor._by_transformers(policy, policy.template.prompt_ids(model_doctor.QUESTION))
    rival = (theirs[2] + 1) % len(logits[2])
    logits[2][rival] = logits[2][theirs[2]] + gap
    theirs[2] = rival
    monkeypatch.setattr(model_doctor, "_by_transformers", lambda *_: (theirs, logits))
    assert check_greedy(policy, engine_of(policy), torch.float32).status == status


def test_the_speed_is_measured_over_whole_answers() -> None:
    policy = tiny_policy()
    engine = engine_of(policy)
    before = engine.stop_ids
    finding = check_speed(policy, engine)
    assert finding.status == "ok"
    assert int(finding.detail.split()[0]) > 0
    assert engine.stop_ids == before
