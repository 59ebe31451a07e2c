"""A response's features are those that it has alone, whatever shares its row or its batch."""

from __future__ import annotations

import pytest
import torch
from tests.models.plain import plain_states
from tests.models.tiny import tiny_model

from trimtab.models.features import mean_features, response_features
from trimtab.models.rows import TokenRow
from trimtab.models.trunk import Trunk


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_features_are_those_of_each_response_alone(family: str) -> None:
    model = tiny_model(family)
    rows = [TokenRow((5, 6, 7, 8), ((9, 10, 11), (12,))), TokenRow((13,), ((14, 15), (16, 17, 18, 19)))]
    told: list[tuple[int, int]] = []
    found = response_features(
        Trunk(model), rows, pad_id=0, max_tokens=8, on_progress=lambda done, total: told.append((done, total))
    )
    for row, features in zip(rows, found, strict=True):
        assert features.shape == (2, model.config.hidden_size)
        for response, feature in zip(row.responses, features, strict=True):
            with torch.no_grad():
                plain = model.get_decoder()(input_ids=torch.tensor([row.prompt_ids + response])).last_hidden_state
            torch.testing.assert_close(feature, plain[0, -1], atol=1e-4, rtol=1e-4)
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("max_tokens", [8, 100])
def test_means_are_those_of_each_prompt_and_response_alone(family: str, max_tokens: int) -> None:
    model = tiny_model(family)
    rows = [TokenRow((5, 6, 7, 8), ((9, 10, 11), (12,), ())), TokenRow((13,), ((14, 15), (16, 17, 18, 19)))]
    trunk = Trunk(model)
    found = mean_features(trunk, rows, pad_id=0, max_tokens=max_tokens)
    for row, (prompt, responses) in zip(rows, found, strict=True):
        assert responses.shape == (len(row.responses), model.config.hidden_size)
        for response, feature in zip(row.responses, responses, strict=True):
            states, start = plain_states(model, row.prompt_ids + response).detach(), len(row.prompt_ids)
            own = states[start:] if response else states[start - 1 :]  # without tokens, what the prompt ended with
            torch.testing.assert_close(prompt.double(), states[:start].mean(0), atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(feature.double(), own.mean(0), atol=1e-4, rtol=1e-4)
