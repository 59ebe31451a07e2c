"""A reward model on a frozen trunk: a bilinear head on what the trunk has in mind of a prompt and of a response.

    score(x, y) = a(y) . (w + M p(x))

p and a are the mean final states of the prompt's and of the response's tokens, standardised. w says what makes a
response good whatever was asked, M what makes it good for this prompt. As the trunk stays what it is, only the head is
learnt, which needs each response read once: a few hundred comparisons teach it in a minute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trimtab.errors import ModelError
from trimtab.models.features import mean_features
from trimtab.models.registry import BILINEAR_FILE
from trimtab.models.rows import TokenRow
from trimtab.models.trunk import Trunk

HEAD_FILE = "bilinear_head.safetensors"


@dataclass(frozen=True, slots=True)
class Standard:
    """How features `[..., D]` are standardised: less `mean` `[D]`, by `deviation` `[D]`, to length 1 on average."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standard:
        """That of these features `[N, D]`. What never varies is left as it is."""
        deviation = features.std(0, unbiased=False)
        return cls(features.mean(0), torch.where(deviation > 0, deviation, 1.0))

    def __call__(self, features: Tensor) -> Tensor:
        """Standardised features, of the same shape."""
        return (features - self.mean) / self.deviation / math.sqrt(features.shape[-1])


@dataclass(frozen=True, slots=True)
class BilinearHead:
    """The head: `weight` `[D]`, `interaction` `[D, D]`, and the scale of the scores."""

    prompts: Standard
    responses: Standard
    weight: Tensor
    interaction: Tensor
    gain: float = 1.0
    bias: float = 0.0

    @classmethod
    def fresh(cls, width: int) -> BilinearHead:
        """One that says 0 of everything."""
        none, nothing = Standard(torch.zeros(width), torch.ones(width)), torch.zeros(width)
        return cls(none, none, nothing, torch.zeros(width, width))

    @property
    def is_fitted(self) -> bool:
        """Whether it has learnt anything."""
        return bool(self.weight.any() or self.interaction.any())

    def scores(self, prompt: Tensor, responses: Tensor) -> Tensor:
        """Scores `[R]` of responses, from the features of their prompt `[D]` and of themselves `[R, D]`."""
        direction = self.weight + self.interaction @ self.prompts(prompt)
        return self.gain * (self.responses(responses) @ direction) + self.bias


class BilinearReward:
    """A bilinear head and the trunk that it reads. `base` is where the trunk was loaded from."""

    def __init__(self, trunk: Trunk, head: BilinearHead, *, base: str) -> None:
        self.trunk = trunk
        self.head = head
        self.base = base

    def score_rows(self, rows: Sequence[TokenRow], *, pad_id: int, max_tokens: int) -> list[Tensor]:
        """Scores of every response: one tensor a row, in the order of the rows."""
        read = mean_features(self.trunk, rows, pad_id=pad_id, max_tokens=max_tokens)
        return [self.head.scores(prompt, responses) for prompt, responses in read]

    def save(self, folder: Path) -> None:
        """Write the head, and what it stands on."""
        folder.mkdir(parents=True, exist_ok=True)
        head = self.head
        tensors = {"weight": head.weight, "interaction": head.interaction}
        for name in ("prompts", "responses"):
            tensors |= {f"{name}.{one.name}": getattr(getattr(head, name), one.name) for one in fields(Standard)}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / HEAD_FILE)
        (folder / BILINEAR_FILE).write_text(json.dumps({"base": self.base, "gain": head.gain, "bias": head.bias}))


def load_bilinear_head(folder: Path, width: int) -> BilinearHead:
    """The head saved in `folder`. Raises `ModelError` when it belongs to another model."""
    tensors, config = load_file(folder / HEAD_FILE), json.loads((folder / BILINEAR_FILE).read_text())
    if tensors["weight"].shape != (width,):
        raise ModelError(f"{folder} was made for hidden size {len(tensors['weight'])}, but the model has {width}")

    def standard(name: str) -> Standard:
        return Standard(*(tensors[f"{name}.{one.name}"] for one in fields(Standard)))

    return BilinearHead(
        standard("prompts"),
        standard("responses"),
        tensors["weight"],
        tensors["interaction"],
        gain=config["gain"],
        bias=config["bias"],
    )
