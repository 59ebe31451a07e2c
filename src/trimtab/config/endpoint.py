"""The settings of a model that answers over the network."""

from __future__ import annotations

import re

from pydantic import ConfigDict, Field, field_validator, model_validator

from trimtab.config.base import Strict

HOW_TO_ASK = frozenset(
    f"endpoint.{name}"
    for name in (
        "api_key_env",
        "timeout",
        "retries",
        "concurrency",
        "price_input",
        "price_output",
        "max_spend",
        "max_calls",
    )
)
"""What changes no answer: a stage goes on with the calls it paid for when one of these changes."""


class EndpointSettings(Strict):
    """A model behind a server that speaks OpenAI's chat API: Ollama, llama.cpp, vLLM or a hosted one."""

    model_config = ConfigDict(hide_input_in_errors=True)  # somebody will put the key itself where its name belongs

    base_url: str = Field(
        description="The server's address up to and with /v1, without a key in it: http://localhost:11434/v1.",
    )
    model: str = Field(min_length=1, description="The model's name, as the server calls it.")
    api_key_env: str | None = Field(
        "OPENAI_API_KEY",
        description="The environment variable that holds the key; it may be unset. Null sends no key in any case.",
    )
    timeout: float = Field(120.0, gt=0, description="Longest time for one request, in seconds, whatever it waits for.")
    retries: int = Field(5, ge=0, description="How often a request that failed in passing is sent again.")
    concurrency: int = Field(4, gt=0, le=256, description="Requests under way at once.")
    price_input: float | None = Field(None, ge=0, description="Price of a million tokens read, in your currency.")
    price_output: float | None = Field(None, ge=0, description="Price of a million tokens written, in your currency.")
    max_spend: float | None = Field(None, ge=0, description="Stop before more than this is spent; null for no cap.")
    max_calls: int | None = Field(None, ge=0, description="Stop before more calls than this; null for no cap.")
    top_logprobs: int = Field(
        20, ge=0, le=20, description="How many of the likeliest tokens the server is asked to tell of; 0 asks for none."
    )
    hard_answers: bool = Field(
        False, description="Take the letter that is written as the label where a server tells no log-probabilities."
    )

    @field_validator("base_url")
    @classmethod
    def _has_no_secret(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s@?#]+", url):
            raise ValueError("must begin with http:// or https:// and have no name, password or ? in it")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("must be the name of an environment variable in capitals, not the key itself")
        return name

    @model_validator(mode="after")
    def _can_count_what_it_caps(self) -> EndpointSettings:
        if self.max_spend is not None and (self.price_input is None or self.price_output is None):
            raise ValueError("max_spend needs price_input and price_output, or nothing can be counted")
        return self
