"""The reference policy: what the policy was before training. Never a second copy of the model in memory.

For an adapter it is the trunk with the adapter off. For full fine-tuning the weights at the start are written to disk
and mapped: the pages belong to the file, and the operating system may drop and re-read them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trimtab.models.policy import Policy, response_logprobs
from trimtab.models.rows import RowBatch

Reference = Callable[[RowBatch, float], Tensor]
"""(rows, temperature) -> log-probabilities `[R, T]`."""


def reference_of(policy: Policy, weights_file: Path) -> Reference:
    """The reference of a policy about to be trained. `weights_file` is written once, for full fine-tuning only."""
    if policy.adapter is not None:
        return _adapter_off(policy)
    if not weights_file.exists():
        _write_weights(policy, weights_file)
    return _mapped(policy, weights_file)


def _adapter_off(policy: Policy) -> Reference:
    def logprobs(batch: RowBatch, temperature: float) -> Tensor:
        with torch.no_grad(), policy.trunk.using(None):
            return response_logprobs(policy.trunk.hidden(batch), batch, policy.trunk, temperature=temperature)

    return logprobs


def _write_weights(policy: Policy, weights_file: Path) -> None:
    partial = weights_file.with_suffix(".partial")
    weights_file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: p.detach().contiguous() for name, p in _parameters(policy).items()}, partial)
    partial.rename(weights_file)


def _parameters(policy: Policy) -> dict[str, Tensor]:
    """The decoder's parameters, and the head's unless it is the embedding again.

    What is only multiplied with is kept in the number type of products, to which it would be rounded each time.
    """
    model, dtype = policy.trunk.causal_lm, policy.trunk.compute_dtype
    decoder = model.get_decoder()
    linear = {f"{name}.weight" for name, module in decoder.named_modules() if isinstance(module, nn.Linear)}
    parameters: dict[str, Tensor] = {
        f"decoder.{name}": p.to(dtype) if name in linear else p for name, p in decoder.named_parameters()
    }
    head = model.get_output_embeddings()
    if head.weight is not model.get_input_embeddings().weight:
        parameters["head.weight"] = head.weight.to(dtype)
    if head.bias is not None:
        parameters["head.bias"] = head.bias
    return parameters


def _mapped(policy: Policy, weights_file: Path) -> Reference:
    # On a CPU this maps the file; nothing is read before it is used.
    weights = load_file(weights_file, device=str(policy.trunk.device))
    decoder = {n.removeprefix("decoder."): t for n, t in weights.items() if n.startswith("decoder.")}
    embedding = policy.trunk.causal_lm.get_input_embeddings().weight
    tied = next(n for n, p in policy.trunk.causal_lm.get_decoder().named_parameters() if p is embedding)
    head = (weights.get("head.weight", decoder[tied]), weights.get("head.bias"))

    def logprobs(batch: RowBatch, temperature: float) -> Tensor:
        with torch.no_grad():
            hidden = policy.trunk.hidden(batch, state=decoder)
            return response_logprobs(hidden, batch, policy.trunk, temperature=temperature, head=head)

    return logprobs
