"""Packing plain text into rows, and learning from them: nothing is lost, repeated or seen across documents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from tests.models.plain import plain_logprobs
from tests.training.loops import OPTIMIZER, Loop, check_resume, gradients_of, tensors_of
from tests.training.test_sft import check_first_loss, fine_tune
from tests.training.world import MemoryRun, tiny_policy
from torch import Tensor

from trimtab.data.text import Piece
from trimtab.data.text_tokens import TextTokens
from trimtab.errors import DataError
from trimtab.models.policy import Policy
from trimtab.models.rows import TokenRow
from trimtab.training.packing import pack, packed_rows
from trimtab.training.row_files import TokenRowFile

START, END = 1, 2
TEXTS = [
    "Coffee with the client, 12.50 EUR, category Meals.",
    "the quick brown fox jumps over the lazy dog\n" * 3,
    "No.",
    "Lunch for two at the station",
]


def test_documents_are_packed_by_hand() -> None:
    stream = [5, 6, END, 7, END, 8, 9, 5, END, 6]
    assert list(pack(stream, START, END, length=5)) == [
        TokenRow((START,), ((5, 6, END), (7,))),
        TokenRow((START,), ((END,), (8, 9, 5))),
        TokenRow((START,), ((END,), (6,))),
    ]


@given(some.lists(some.lists(some.integers(3, 9), max_size=12), max_size=8), some.integers(2, 9))
def test_every_token_is_predicted_exactly_once_in_order(documents: list[list[int]], length: int) -> None:
    stream = [token for one in documents for token in (*one, END)]
    rows = list(pack(stream, START, END, length=length))
    assert [token for row in rows for response in row.responses for token in response] == stream
    assert all(row.prompt_ids == (START,) for row in rows)
    assert all(row.num_tokens == length for row in rows[:-1])  # nothing is wasted
    assert all(row.num_tokens <= length for row in rows)
    for row in rows:  # each response is of one document
        assert all(END not in response[:-1] for response in row.responses)
        assert all(response[-1] == END for response in row.responses[:-1])


def packed(policy: Policy, folder: Path, length: int = 12) -> TokenRowFile:
    pieces = [Piece(text, ends=True) for text in TEXTS]
    return packed_rows(pieces, TextTokens(policy.tokenizer), length=length, run=MemoryRun(folder))


def test_rows_are_written_once(tmp_path: Path) -> None:
    policy = tiny_policy()
    rows = list(packed(policy, tmp_path))
    tokens = TextTokens(policy.tokenizer)
    assert list(packed_rows(iter(()), tokens, length=12, run=MemoryRun(tmp_path))) == rows
    with pytest.raises(DataError, match="no text to learn from"):
        packed_rows(iter(()), tokens, length=12, run=MemoryRun(tmp_path / "other"))


def test_the_first_loss_is_the_mean_over_all_tokens_each_document_alone(tmp_path: Path) -> None:
    """The oracle reads each document's part of a row alone after the start token: it sees nothing of the others."""
    policy = tiny_policy()
    rows = list(packed(policy, tmp_path / "rows"))[:8]
    assert any(len(row.responses) > 1 for row in rows)
    with torch.no_grad():
        nats = torch.cat([-plain_logprobs(policy.model, row.prompt_ids, one) for row in rows for one in row.responses])
    assert len(nats) == sum(row.num_tokens - 1 for row in rows)
    check_first_loss(policy, rows, nats, tmp_path)


def test_the_first_gradient_is_that_of_plain_forwards(tmp_path: Path) -> None:
    policy = tiny_policy()
    rows = list(packed(policy, tmp_path / "rows"))[:3]
    nats = [-plain_logprobs(policy.model, row.prompt_ids, one) for row in rows for one in row.responses]
    parameters = policy.trainable_parameters()
    expected = torch.autograd.grad(torch.cat(nats).mean(), parameters.values())
    with gradients_of() as caught:
        fine_tune(policy, rows, MemoryRun(tmp_path), settings=OPTIMIZER)
    for name, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(caught[0][name], gradient, atol=1e-5, rtol=1e-4)


def loop_of(adapter: bool) -> Loop:
    def loop(run: MemoryRun) -> dict[str, Tensor]:
        policy = tiny_policy(adapter=adapter)
        fine_tune(policy, packed(policy, run.state, length=8), run, num_epochs=2, batch_size=4)
        return tensors_of(policy.trainable_parameters())

    return loop


@pytest.mark.parametrize("adapter", [False, True], ids=["full", "lora"])
def test_a_stopped_run_ends_as_an_uninterrupted_one(adapter: bool, tmp_path: Path) -> None:
    check_resume(loop_of(adapter), tmp_path, stops=(1, 2, 4))
