"""The trunk: a transformer without its head, run over rows, under one of several sets of weights.

A policy, its reference, a reward model and a value model are often one trunk with different adapters. Adapters are
switched by name; `None` means the base weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from trimtab.errors import ModelError
from trimtab.models.attention import ROW_ATTENTION
from trimtab.models.families import Family, is_supported
from trimtab.models.row_forward import RowForward
from trimtab.models.rows import RowBatch

ADAPTER_WEIGHTS = "adapter_model.safetensors"
SCORE_SUFFIX = "score.weight"


class Trunk:
    """A causal language model whose hidden states are wanted. Holds at most one copy of the base weights.

    `compute_dtype` is what matrix products run in: bfloat16 runs under autocast, float32 runs plainly. On a CPU, fused
    attention is exchanged for one that is faster on rows.
    """

    def __init__(self, model: PreTrainedModel, *, compute_dtype: torch.dtype = torch.float32) -> None:
        if model.device.type == "cpu" and model.config.get_text_config()._attn_implementation == "sdpa":
            model.set_attn_implementation(ROW_ATTENTION)
        self.model: PreTrainedModel | PeftModel = model
        self.compute_dtype = compute_dtype
        self._row_forward = self._written_out()
        self._active: str | None = None
        self._learning: set[str] = set()

    @property
    def causal_lm(self) -> PreTrainedModel:
        """The transformers model itself, whatever adapters are injected into it."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def config(self) -> Any:
        """The transformers configuration of the text model."""
        return self.causal_lm.config.get_text_config()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.causal_lm.device

    def autocast(self) -> Any:
        """The context in which forward passes run."""
        if self.compute_dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.compute_dtype)

    def hidden(self, batch: RowBatch, *, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """Final hidden states of every token, `[B * L, D]`, under the active adapter.

        With `state`, the base model's parameters are replaced by these tensors for this call (names as in its
        `state_dict`), so that frozen weights need not be copied into a second model.
        """
        if self._row_forward is not None and self.config._attn_implementation == ROW_ATTENTION:
            return self._written_out_hidden(self._row_forward, batch, state or {})
        decoder = self.causal_lm.get_decoder()
        inputs = {
            "input_ids": batch.input_ids,
            "position_ids": batch.positions,
            "attention_mask": self._attention_mask(batch),
            "use_cache": False,
        }
        with self.autocast():
            if state is None:
                output = decoder(**inputs)
            else:
                output = torch.func.functional_call(decoder, dict(state), kwargs=inputs, tie_weights=False)
        return output.last_hidden_state.flatten(0, 1)

    def _written_out_hidden(self, forward: RowForward, batch: RowBatch, state: Mapping[str, Tensor]) -> Tensor:
        windows = set(forward.family.windows)
        biases = {window: self._as_attention_bias(batch.attention_mask(window), forward.dtype) for window in windows}
        inputs = (batch.input_ids, batch.positions, biases)
        if not state:
            return forward(*inputs).flatten(0, 1)
        lent = {f"decoder.{name}": tensor for name, tensor in state.items()}
        return torch.func.functional_call(forward, lent, inputs, tie_weights=False).flatten(0, 1)

    def _written_out(self) -> RowForward | None:
        """The forward pass written out, for the families and on the device it is meant for."""
        if self.device.type != "cpu" or not is_supported(self.model):
            return None
        return RowForward(self.causal_lm.get_decoder(), Family.of(self.model), self.compute_dtype)

    def _attention_mask(self, batch: RowBatch) -> Tensor | dict[str, Tensor]:
        config = self.config
        window = getattr(config, "sliding_window", None)
        layer_types = getattr(config, "layer_types", None) or ()
        if "sliding_attention" in layer_types:
            return {
                "full_attention": self._as_attention_bias(batch.attention_mask()),
                "sliding_attention": self._as_attention_bias(batch.attention_mask(window)),
            }
        uses_window = window is not None and getattr(config, "use_sliding_window", True)
        return self._as_attention_bias(batch.attention_mask(window if uses_window and not layer_types else None))

    def _as_attention_bias(self, allowed: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Fused attention takes booleans; the others add a number to the scores."""
        if self.config._attn_implementation == "sdpa":
            return allowed
        dtype = dtype or self.compute_dtype
        return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)

    # Adapters -------------------------------------------------------------------------------------------------------

    def add_adapter(self, name: str, *, rank: int, alpha: int, dropout: float, targets: str | list[str]) -> None:
        """Inject a fresh LoRA adapter that can learn (Hu et al. 2021). It starts as the identity, in float32.

        Raises `ModelError` for targets that the model does not have, and for its head, which a trunk leaves out.
        """
        config = LoraConfig(
            base_model_name_or_path=self.causal_lm.name_or_path,  # PEFT fills it in for a first adapter only
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        self._inject(name, config, "an adapter with these targets")
        if isinstance(self.causal_lm.get_output_embeddings(), BaseTunerLayer):
            raise ModelError("an adapter on the model's head is not supported: take the head out of the targets")
        self._learning.add(name)
        self._activate(name)

    def load_adapter(self, name: str, folder: Path, *, learns: bool = False) -> None:
        """Inject an adapter saved in `folder`, frozen unless it `learns`.

        Raises `ModelError` when it does not fit this model.
        """
        config = LoraConfig.from_pretrained(str(folder))
        config.modules_to_save = None  # a reward model's head, which is no part of the trunk
        weights = {k: t for k, t in load_file(folder / ADAPTER_WEIGHTS).items() if not k.endswith(SCORE_SUFFIX)}
        self._inject(name, config, f"the adapter in {folder}")
        try:
            report = set_peft_model_state_dict(self.model, weights, adapter_name=name)
        except RuntimeError as error:
            raise ModelError(f"the adapter in {folder} does not fit this model: {error}") from error
        left_random = [key for key in report.missing_keys if f".{name}." in key]
        if left_random or report.unexpected_keys:
            raise ModelError(
                f"the adapter in {folder} does not fit this model: {len(left_random)} weights are missing and "
                f"{len(report.unexpected_keys)} are unknown to it"
            )
        if learns:
            self._learning.add(name)
        self._activate(name)

    def _inject(self, name: str, config: LoraConfig, what: str) -> None:
        try:
            if isinstance(self.model, PeftModel):
                self.model.add_adapter(name, config)
            else:
                self.model = get_peft_model(self.model, config, adapter_name=name)
        except ValueError as error:
            raise ModelError(f"{what} does not fit this model: {error}") from error
        self._row_forward = self._written_out()

    def copy_adapter(self, source: str, target: str) -> None:
        """Inject a second adapter with the shape and weights of `source`, which can learn."""
        model = self._peft_model()
        model.add_adapter(target, replace(model.peft_config[source], inference_mode=False))
        copied = self.adapter_parameters(target)
        for name, parameter in self.adapter_parameters(source).items():
            copied[name.replace(f".{source}.", f".{target}.")].data = parameter.data.float().clone()
        self._learning.add(target)
        self._activate(target)

    def adapter_parameters(self, name: str) -> dict[str, nn.Parameter]:
        """The parameters of one adapter, by name."""
        return {n: p for n, p in self._peft_model().named_parameters() if f".{name}." in n}

    def save_adapter(self, name: str, folder: Path, *, score_weight: Tensor | None = None) -> None:
        """Write one adapter as a PEFT folder; with a score head `[1, D]`, as one for sequence classification."""
        model = self._peft_model()
        folder.mkdir(parents=True, exist_ok=True)
        weights = get_peft_model_state_dict(model, adapter_name=name)
        config = replace(model.peft_config[name], inference_mode=True)
        if score_weight is not None:
            weights["base_model.model." + SCORE_SUFFIX] = score_weight
            config = replace(config, task_type="SEQ_CLS", modules_to_save=["score"])
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / ADAPTER_WEIGHTS)
        config.save_pretrained(str(folder))

    @contextmanager
    def using(self, adapter: str | None, *, train: bool = False) -> Iterator[None]:
        """Run under one adapter, or with `None` under the base weights alone. Only then, if asked, can it learn."""
        if not isinstance(self.model, PeftModel):
            if adapter is not None:
                raise ModelError(f"there is no adapter {adapter!r}: this model has none at all")
            yield
            return
        if adapter is None:
            try:
                with self.model.disable_adapter():
                    self._let_learn()
                    yield
            finally:
                self._let_learn()
            return
        if adapter != self._active:
            self._activate(adapter)
        self._drop_out(train)
        yield

    def _activate(self, name: str) -> None:
        """Switch to an adapter."""
        model = self._peft_model()
        model.set_adapter(name)
        self._active = name
        if self.compute_dtype != torch.float32:
            _leave_casting_to_autocast(model)
        self._let_learn()

    def _let_learn(self) -> None:
        """When PEFT switches it lets the active adapter learn and no other; here every learning one stays so.

        A graph recorded under one adapter is often differentiated under another, and autograd drops, silently, the
        gradient of a parameter that may not learn at that moment.
        """
        for adapter in self._peft_model().peft_config:
            for parameter in self.adapter_parameters(adapter).values():
                parameter.requires_grad_(adapter in self._learning)

    def _drop_out(self, on: bool) -> None:
        """Dropout belongs to adapters that ask for it, while they learn, and never to the base model."""
        for name, module in self._peft_model().named_modules():
            if isinstance(module, nn.Dropout) and ".lora_dropout." in name:
                module.train(on)

    def _peft_model(self) -> PeftModel:
        if not isinstance(self.model, PeftModel):
            raise ModelError("this model has no adapters")
        return self.model


def _leave_casting_to_autocast(model: PeftModel) -> None:
    """PEFT casts each input to the adapter's float32 first, which autocast undoes: time and memory for nothing."""
    for module in model.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False
