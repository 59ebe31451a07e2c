"""A trunk with one number on top: a reward model reads it at a response's end, a value model before every token."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trimtab.errors import ModelError
from trimtab.models.reward_model import unit_scale
from trimtab.models.rows import RowBatch, TokenRow, response_slices, row_batches
from trimtab.models.trunk import SCORE_SUFFIX, Trunk

BIAS_FILE = "score_bias.json"


@dataclass
class ScalarModel:
    """A trunk under one adapter (or none) and a linear head `[D] -> 1`, in float32.

    Used as a reward model through `scores` and as a value model through `values`. One is made from the other by
    copying the head and the adapter, so a critic starts as the reward model (InstructGPT, appendix C.4).
    """

    trunk: Trunk
    head: nn.Linear
    adapter: str | None = None

    @classmethod
    def fresh(cls, trunk: Trunk, *, adapter: str | None, seed: int) -> ScalarModel:
        """A new head: weights of standard deviation 1 / sqrt(D + 1), bias 0 (N-details, item 8)."""
        width = trunk.config.hidden_size
        head = nn.Linear(width, 1)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            head.weight.normal_(std=1 / math.sqrt(width + 1), generator=generator)
            head.bias.zero_()
        return cls(trunk, head.to(trunk.device), adapter)

    def scores(self, batch: RowBatch, *, train: bool = False) -> Tensor:
        """One score a response, read at its last token: `[R]`, float32."""
        return self._read(batch, batch.last_token, train=train)

    def values(self, batch: RowBatch, *, train: bool = False) -> Tensor:
        """The value of the state before each response token: `[R, T]`, float32, 0 where masked."""
        return self._read(batch, batch.predicted_from, train=train).masked_fill(~batch.mask, 0.0)

    def score_rows(self, rows: Sequence[TokenRow], *, pad_id: int, max_tokens: int) -> list[Tensor]:
        """Scores of every response without gradients: one tensor a row, in the order of the rows."""
        scores: list[Tensor] = [torch.empty(0)] * len(rows)
        with torch.no_grad():
            for indices, batch in row_batches(rows, max_tokens=max_tokens, pad_id=pad_id, device=self.trunk.device):
                flat = self.scores(batch).cpu()
                for index, piece in zip(indices, response_slices([rows[i] for i in indices]), strict=True):
                    scores[index] = flat[piece]
        return scores

    def _read(self, batch: RowBatch, places: Tensor, *, train: bool) -> Tensor:
        with self.trunk.using(self.adapter, train=train):
            hidden = self.trunk.hidden(batch)
        return self.head(hidden[places].float()).squeeze(-1)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Head, and the adapter's parameters or all of the decoder's."""
        head = {f"scalar_head.{name}": p for name, p in self.head.named_parameters()}
        if self.adapter is not None:
            return head | self.trunk.adapter_parameters(self.adapter)
        return head | dict(self.trunk.causal_lm.get_decoder().named_parameters())

    def normalise(self, mean: float, std: float) -> None:
        """Rescale the head so that scores that had this mean and deviation get mean 0 and deviation 1."""
        self.rescale(*unit_scale(mean, std))

    def rescale(self, gain: float, bias: float) -> None:
        """Make the head say gain * (what it said) + bias."""
        with torch.no_grad():
            self.head.weight *= gain
            self.head.bias.mul_(gain).add_(bias)

    def copy(self, adapter: str, **fresh: Any) -> ScalarModel:
        """A second model that starts equal to this one and learns in an adapter of its own, on the same trunk.

        `fresh` is the shape of the adapter (arguments of `Trunk.add_adapter`) where this model has none to copy.
        """
        if self.adapter is not None:
            self.trunk.copy_adapter(self.adapter, adapter)
        else:
            self.trunk.add_adapter(adapter, **fresh)
        return ScalarModel(self.trunk, copy.deepcopy(self.head), adapter)

    def save(self, folder: Path) -> None:
        """Write a folder that sequence classification with one label also loads: trunk or adapter, and score head.

        The head's bias, which such a head does not have, shifts all scores alike; it is kept in `BIAS_FILE`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        weight = self.head.weight.detach()
        if self.adapter is not None:
            self.trunk.save_adapter(self.adapter, folder, score_weight=weight)
        else:
            _save_classifier(self.trunk, weight, folder)
        (folder / BIAS_FILE).write_text(json.dumps({"bias": self.head.bias.item()}))


def _save_classifier(trunk: Trunk, weight: Tensor, folder: Path) -> None:
    model = trunk.causal_lm
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.architectures = [type(model).__name__.replace("ForCausalLM", "ForSequenceClassification")]
    config.save_pretrained(folder)
    head = model.get_output_embeddings()
    weights = {n: t for n, t in model.state_dict().items() if t is not head.weight and not n.startswith("lm_head.")}
    weights[SCORE_SUFFIX] = weight
    save_file({n: t.contiguous() for n, t in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def is_scalar_model(folder: Path) -> bool:
    """Whether a scalar model was saved in `folder`."""
    return (folder / BIAS_FILE).is_file()


def load_head(folder: Path, width: int) -> nn.Linear:
    """The scalar head saved in `folder`. Raises `ModelError` when there is none or it belongs to another model."""
    bias = folder / BIAS_FILE
    if not is_scalar_model(folder):
        raise ModelError(f"{folder} is no reward model: it has no {BIAS_FILE}")
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                if name.endswith(SCORE_SUFFIX):
                    return _head(tensors.get_tensor(name), json.loads(bias.read_text())["bias"], width, file)
    raise ModelError(f"{folder} is no reward model: its weights have no {SCORE_SUFFIX}")


def _head(weight: Tensor, bias: float, width: int, file: Path) -> nn.Linear:
    if weight.shape != (1, width):
        raise ModelError(f"{file} was made for hidden size {weight.shape[-1]}, but the model has {width}")
    head = nn.Linear(width, 1)
    head.load_state_dict({"weight": weight.float(), "bias": torch.tensor([bias])})
    return head
