"""The row layout against plain forwards: sharing a prompt must change nothing that anyone can measure."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.models.tiny import FAMILIES, VOCABULARY, tiny_model

from trimtab.models import attention
from trimtab.models.policy import response_logprobs
from trimtab.models.rows import TokenRow, lay_out, micro_batches, response_slices
from trimtab.models.trunk import Trunk

ids = st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=9).map(tuple)
rows = st.lists(st.builds(TokenRow, ids, st.lists(ids, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=5)


def random_rows(seed: int) -> list[TokenRow]:
    """Five rows of 1 to 4 responses; prompts and responses outgrow the tiny models' window of 5."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        count = int(torch.randint(low, high, (), generator=generator))
        return tuple(torch.randint(3, VOCABULARY, (count,), generator=generator).tolist())

    return [TokenRow(tokens(1, 14), tuple(tokens(1, 12) for _ in range(1 + i % 4))) for i in range(5)]


def plain_logprobs(model: torch.nn.Module, prompt: tuple[int, ...], response: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities by the model's own forward over one unpadded sequence."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0].float()
    logprobs = logits.log_softmax(-1)
    return torch.stack([logprobs[len(prompt) + t - 1, token] for t, token in enumerate(response)])


@pytest.mark.parametrize("way", ["plain products", "fused", "fused, with booleans", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_equal_separate_forwards(family: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 log-probabilities of every response token within 1e-4 nats of a forward of its own."""
    model = tiny_model(family)
    batch_rows = random_rows(seed=1)
    batch = lay_out(batch_rows, pad_id=0)
    if way == "eager":
        model.set_attn_implementation("eager")
    trunk = Trunk(model)
    if way == "fused":
        monkeypatch.setattr(attention, "LONGEST_ROW", 8)
    if way == "fused, with booleans":
        model.set_attn_implementation("sdpa")
    with torch.no_grad():
        logprobs = response_logprobs(trunk.hidden(batch), batch, trunk)
    r = 0
    for row in batch_rows:
        for response in row.responses:
            expected = plain_logprobs(model, row.prompt_ids, response)
            torch.testing.assert_close(logprobs[r, : len(response)], expected, atol=1e-4, rtol=0)
            assert (logprobs[r, len(response) :] == 0).all()
            r += 1


def test_layout_of_a_hand_made_row() -> None:
    """Prompt (5, 6), responses (7, 8) and (9): positions restart after the prompt, each response predicted from it."""
    batch = lay_out([TokenRow((5, 6), ((7, 8), (9,)))], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert batch.targets.tolist() == [[7, 8], [9, 0]]
    assert batch.mask.tolist() == [[True, True], [True, False]]
    # Token 7 (place 2) is predicted from 6 (place 1), 8 from 7 (place 2), 9 from 6 again.
    assert batch.predicted_from.tolist() == [[1, 2], [1, 0]]
    assert batch.last_token.tolist() == [3, 4]
    sees = batch.attention_mask()[0, 0].int().tolist()
    assert sees == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_a_window_counts_positions() -> None:
    """With a window of 2, the second response's first token (position 2) sees position 1 and itself, as if alone."""
    batch = lay_out([TokenRow((5, 6), ((7, 8), (9,)))], pad_id=0)
    assert batch.attention_mask(2)[0, 0, 4].int().tolist() == [0, 1, 0, 0, 1]


@given(rows)
def test_every_token_is_laid_out_once(batch_rows: list[TokenRow]) -> None:
    batch = lay_out(batch_rows, pad_id=0)
    responses = [list(response) for row in batch_rows for response in row.responses]
    assert [t[m].tolist() for t, m in zip(batch.targets, batch.mask, strict=True)] == responses
    flat = batch.input_ids.flatten()
    assert flat[batch.last_token].tolist() == [response[-1] for response in responses]
    slices = response_slices(batch_rows)
    assert [s.stop - s.start for s in slices] == [len(row.responses) for row in batch_rows]
    assert slices[-1].stop == len(responses)


@given(rows, st.integers(1, 60))
def test_micro_batches_cover_all_rows_within_the_budget(batch_rows: list[TokenRow], budget: int) -> None:
    chunks = list(micro_batches(batch_rows, max_tokens=budget))
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(batch_rows)))
    for chunk in chunks:
        padded = len(chunk) * max(batch_rows[index].num_tokens for index in chunk)
        assert padded <= budget or len(chunk) == 1


def test_an_empty_response_is_masked_out() -> None:
    batch = lay_out([TokenRow((5, 6), ((), (7,)))], pad_id=0)
    assert batch.mask.tolist() == [[False], [True]]
    assert batch.last_token.tolist() == [1, 2]


def test_a_row_without_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one prompt token"):
        TokenRow((), ((1,),))
