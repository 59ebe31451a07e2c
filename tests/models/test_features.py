"""A response's features are the hidden state at its last token, whatever shares its row or its batch."""

from __future__ import annotations

import pytest
import torch
from tests.models.tiny import tiny_model

from trimtab.models.features import response_features
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
