"""From a folder to a policy or a reward model, with the checks that keep a wrong one from being used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from trimtab.data.chat import ChatTemplate
from trimtab.data.chat_templates import give_template
from trimtab.errors import ModelError
from trimtab.models.bilinear_reward import BilinearReward, load_bilinear_head
from trimtab.models.policy import Policy, head_logits
from trimtab.models.registry import (
    base_of,
    base_of_bilinear,
    check_folder,
    is_adapter,
    is_bilinear,
    load_tokenizer,
    locate,
)
from trimtab.models.rows import TokenRow, lay_out
from trimtab.models.scalar_model import ScalarModel, is_scalar_model, load_head
from trimtab.models.trunk import Trunk

POLICY_ADAPTER = "policy"
REWARD_ADAPTER = "reward"


def load_policy(
    name: str,
    *,
    weights_dtype: torch.dtype = torch.float32,
    compute_dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    chat_template: str | None = None,
    allow_remote_code: bool = False,
) -> Policy:
    """Load a policy by folder or name, its adapter merged when it has one, so that it is a plain model again.

    `chat_template` takes the place of the model's own (`data/chat_templates.py:give_template`); tokens that it adds are
    embedded as the mean of all others. Raises `ModelError` for a folder that is not a whole causal language model in
    safetensors.
    """
    folder = locate(name)
    check_folder(folder, allow_remote_code=allow_remote_code)
    tokenizer = load_tokenizer(str(folder))
    if is_adapter(folder):
        base = _load_causal_lm(base_of(folder), torch.float32, allow_remote_code)
        trunk = Trunk(base)
        trunk.load_adapter(POLICY_ADAPTER, folder)
        model = trunk.model.merge_and_unload()
    else:
        model = _load_causal_lm(folder, weights_dtype, allow_remote_code)
    if chat_template is not None:
        known = set(tokenizer.get_vocab().values())
        give_template(tokenizer, chat_template)
        _embed(model, set(tokenizer.get_vocab().values()) - known)
    trunk = Trunk(model.to(device=device, dtype=weights_dtype).eval(), compute_dtype=compute_dtype)
    _check_rows(trunk)
    return Policy(trunk, tokenizer, ChatTemplate(tokenizer))


def is_reward_model(folder: Path) -> bool:
    """Whether a reward model was saved in `folder`."""
    return is_scalar_model(folder) or is_bilinear(folder)


def load_bilinear_reward(
    folder: Path,
    *,
    compute_dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    allow_remote_code: bool = False,
) -> BilinearReward:
    """Load a bilinear reward model, with a trunk of its own. Raises `ModelError`."""
    base = base_of_bilinear(folder)
    policy = load_policy(
        base,
        weights_dtype=compute_dtype,
        compute_dtype=compute_dtype,
        device=device,
        allow_remote_code=allow_remote_code,
    )
    return BilinearReward(policy.trunk, load_bilinear_head(folder, policy.trunk.config.hidden_size), base=base)


def load_reward_model(
    folder: Path,
    *,
    onto: Trunk | None = None,
    learns: bool = False,
    compute_dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    allow_remote_code: bool = False,
) -> ScalarModel:
    """Load a reward model: onto a trunk whose base weights are the ones it was trained on, or with a trunk of its own.

    One that `learns` has its adapter, or all of its weights, in float32 and free to change. Raises `ModelError` when
    the folder holds no reward model.
    """
    check_folder(folder, allow_remote_code=allow_remote_code)
    if is_adapter(folder):
        trunk = onto or Trunk(
            _load_causal_lm(base_of(folder), compute_dtype, allow_remote_code).to(device).eval(),
            compute_dtype=compute_dtype,
        )
        head = load_head(folder, trunk.config.hidden_size)
        trunk.load_adapter(REWARD_ADAPTER, folder, learns=learns)
        return ScalarModel(trunk, head.to(device), REWARD_ADAPTER)
    weights_dtype = torch.float32 if learns else compute_dtype
    model = _load_causal_lm(folder, weights_dtype, allow_remote_code, head_may_be_missing=True)
    trunk = Trunk(model.to(device).eval(), compute_dtype=compute_dtype)
    return ScalarModel(trunk, load_head(folder, trunk.config.hidden_size).to(device))


def _embed(model: PreTrainedModel, new: set[int]) -> None:
    """Let a model know new tokens, each as the mean of those it knows, so that none is likelier than the others."""
    if not new:
        return
    if max(new) >= len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(max(new) + 1, mean_resizing=False)
    with torch.no_grad():
        for weight in {layer.weight for layer in (model.get_input_embeddings(), model.get_output_embeddings())}:
            weight[sorted(new)] = weight[: min(new)].float().mean(0).to(weight.dtype)


def _load_causal_lm(
    folder: Path, dtype: torch.dtype, allow_remote_code: bool, *, head_may_be_missing: bool = False
) -> PreTrainedModel:
    check_folder(folder, allow_remote_code=allow_remote_code)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=allow_remote_code,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder} cannot be loaded as a causal language model: {error}\n"
            "The file may be cut short or belong to another model. Fetch or make it again"
        ) from error
    _check_report(folder, report, head_may_be_missing)
    return model


def _check_report(folder: Path, report: dict[str, Any], head_may_be_missing: bool) -> None:
    """A weight that was not in the file was made up at random: that is no model anyone trained."""
    missing = {key for key in report["missing_keys"] if not (head_may_be_missing and "lm_head" in key)}
    mismatched = report["mismatched_keys"]
    if missing or mismatched:
        example = sorted(map(str, missing or mismatched))[0]
        raise ModelError(
            f"the weights in {folder} are not those its config.json describes: {len(missing)} are missing and "
            f"{len(mismatched)} have another shape (for one, {example}). It may be a checkpoint of another model"
        )


def _check_rows(trunk: Trunk) -> None:
    """Make sure that a row means to this model what it means to us, on a few tokens.

    Some families change logits after the head: ours must be the model's own. Some have layers (convolutions,
    recurrences) that know nothing of masks: other siblings must leave a response's logits as they were.
    """
    ids = [2 + n % (trunk.config.vocab_size - 2) for n in range(300, 316)]
    prompt, response, sibling, other = (tuple(ids[start : start + 4]) for start in range(0, 16, 4))
    with torch.no_grad():
        ours, beside_other = (_last_response_logits(trunk, prompt, (first, response)) for first in (sibling, other))
        with trunk.autocast():
            alone = trunk.causal_lm(input_ids=torch.tensor([prompt + response], device=trunk.device), use_cache=False)
    theirs = alone.logits[0, len(prompt) - 1 : -1].float()
    size = theirs.abs().max()
    # Gemma 3 270M in bfloat16: two orders of the same sums end 4 to 5 % apart, in float32 at a millionth.
    rounding = 0.05 if trunk.compute_dtype == torch.float32 else 0.15
    if (ours - theirs).abs().max() > rounding * size or (ours - beside_other).abs().max() > 1e-6 * size:
        raise ModelError(
            f"models of type {trunk.config.model_type!r} compute in a way trimtab does not know: a response beside "
            "another in a row does not get the log-probabilities it gets alone"
        )


def _last_response_logits(trunk: Trunk, prompt: tuple[int, ...], responses: tuple[tuple[int, ...], ...]) -> Tensor:
    row = lay_out([TokenRow(prompt, responses)], pad_id=0, device=trunk.device)
    return head_logits(trunk.hidden(row)[row.predicted_from[-1]], trunk).float()
