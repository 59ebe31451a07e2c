"""Settings of a model behind a server: what is refused, and that a refusal never repeats a secret."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from trimtab.config.endpoint import HOW_TO_ASK, EndpointSettings
from trimtab.config.load import _told

URL = "http://localhost:11434/v1"


def refused(**settings: Any) -> str:
    with pytest.raises(ValidationError) as error:
        EndpointSettings(**{"base_url": URL, "model": "m", **settings})
    assert "secret" not in str(error.value)
    return " ".join(_told(EndpointSettings, ("judge",), detail) for detail in error.value.errors())


def test_the_address_and_the_model_are_enough() -> None:
    settings = EndpointSettings(base_url=URL, model="m")
    assert (settings.api_key_env, settings.max_spend, settings.hard_answers) == ("OPENAI_API_KEY", None, False)
    assert settings.top_logprobs == 20


def test_a_stage_is_made_anew_when_what_may_change_an_answer_changes() -> None:
    in_key = {name for name in EndpointSettings.model_fields if f"endpoint.{name}" not in HOW_TO_ASK}
    assert in_key == {"base_url", "model", "top_logprobs", "hard_answers"}


@pytest.mark.parametrize(
    "url", ["localhost:11434/v1", "ftp://host/v1", "https://me:secret@host/v1", "https://host/v1?key=secret", "http://"]
)
def test_an_address_has_a_scheme_and_no_secret(url: str) -> None:
    told = refused(base_url=url)
    assert "judge.base_url: must begin with http" in told
    assert "secret" not in told


@pytest.mark.parametrize("name", ["sk-secret-123", "sksecret123", "", "MY KEY secret"])
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated(name: str) -> None:
    told = refused(api_key_env=name)
    assert "judge.api_key_env: must be the name of an environment variable" in told
    assert "secret" not in told


@pytest.mark.parametrize("missing", ["price_input", "price_output"])
def test_a_cap_on_spending_needs_both_prices(missing: str) -> None:
    prices = {"price_input": 1.0, "price_output": 2.0} | {missing: None}
    assert "max_spend needs price_input and price_output" in refused(max_spend=5.0, **prices)


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"retries": -1},
        {"concurrency": 0},
        {"price_input": -1.0},
        {"max_calls": -1},
        {"top_logprobs": -1},
        {"top_logprobs": 21},
        {"model": ""},
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    assert "judge." in refused(**settings)
