"""Checks of one model: that it can be steered without the mistakes that go unnoticed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from trimtab.config import Runtime
from trimtab.data.chat import ChatTemplate
from trimtab.errors import ModelError, UserError
from trimtab.generation.engine import Engine
from trimtab.models.attention import ROW_ATTENTION
from trimtab.models.policy import Policy
from trimtab.models.registry import PICKLES, base_of, is_adapter, locate
from trimtab.pipeline.doctor import Finding
from trimtab.pipeline.find import find_policy
from trimtab.pipeline.resolve import load_writer
from trimtab.types import Message, Prompt

QUESTION = Prompt((Message("user", "What is the capital of France?"),))
COMPARED_TOKENS = 8
TIMED_TOKENS = 32
TIE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
"""Logits closer than this may change places when sums are done in another order. Bfloat16 rounds 20 to steps of 1/8."""


def check_model(
    name: str, *, allow_remote_code: bool = False, say: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Load a model, fetched first when it is not here, and check its files, its template, and the engine on it."""
    try:
        folder = locate(find_policy(name), say=say)
        policy = load_writer(str(folder), Runtime(), allow_remote_code=allow_remote_code)
    except UserError as error:
        return [Finding("model", "problem", f"{name} cannot be used: {error}", "Mend this first.")]
    template, dtype = policy.template, policy.trunk.compute_dtype
    engine = Engine.of(policy)
    return [
        Finding("model", "ok", f"{name} is {policy.trunk.config.model_type}, {_millions(policy)} parameters"),
        check_files([folder, base_of(folder)] if is_adapter(folder) else [folder]),
        check_padding(template),
        check_end_of_turn(template),
        check_special_text(template),
        check_greedy(policy, engine, dtype),
        check_speed(policy, engine),
    ]


def check_files(folders: Sequence[Path]) -> Finding:
    """That weights come from safetensors, and whether pickles lie beside them."""
    pickles = [str(file) for folder in folders for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if pickles:
        detail = f"weights are read from safetensors; there is a pickle beside them: {pickles[0]}"
        return Finding("files", "warning", detail, "trimtab never opens it; remove it so that nothing else does.")
    return Finding("files", "ok", "weights in safetensors, no pickles")


def check_padding(template: ChatTemplate) -> Finding:
    """That the pad token is no stop token: a model trained with one learns not to stop."""
    pad, own = template.pad_id, template.tokenizer.pad_token_id
    if pad in template.stop_ids:
        detail = f"the pad token {_token(template, pad)} also ends a turn"
        return Finding("padding", "problem", detail, "Give the tokenizer a pad token of its own.")
    detail = f"pads with {_token(template, pad)}, stops at {_tokens(template, template.stop_ids)}"
    if own in template.stop_ids:
        detail += f" (the tokenizer's own pad token {_token(template, own)} ends a turn, so it is not used)"
    return Finding("padding", "ok", detail)


def check_end_of_turn(template: ChatTemplate) -> Finding:
    """That the last token a demonstration teaches is the template's end of turn."""
    supervised = [token for token in template.describe(QUESTION, "Paris.") if token.supervised]
    last = supervised[-1].token_ids[-1]
    if last == template.end_of_turn_id:
        return Finding("end of turn", "ok", f"a demonstration ends with {_token(template, last)}, and it is learnt")
    detail = f"a demonstration ends with {_token(template, last)}, not {_token(template, template.end_of_turn_id)}"
    return Finding("end of turn", "problem", detail, "The model would not learn to stop; mend its chat template.")


def check_special_text(template: ChatTemplate) -> Finding:
    """That a message which spells a special token stays text: no user can end a turn or speak as someone else."""
    special = _special_tokens(template)
    clean = _count(template, "", special)
    try:
        at_once = _count(template, " ".join(f"a{text}b" for text in special.values()), special)
        wrong = [] if at_once == clean else [t for t in special.values() if _count(template, t, special) != clean]
    except ModelError as error:
        return Finding("special tokens", "problem", str(error), "Use this model with data you trust only.")
    if at_once != clean:
        detail = f"a message can write the special token {', '.join(wrong[:3]) or 'of this tokenizer'}"
        return Finding("special tokens", "problem", detail, "Use this model with data you trust only.")
    return Finding("special tokens", "ok", f"all {len(special)} stay plain text inside messages")


def check_greedy(policy: Policy, engine: Engine, dtype: torch.dtype) -> Finding:
    """That the engine writes what transformers writes, up to ties that rounding decides."""
    ids = policy.template.prompt_ids(QUESTION)
    ((sample,),) = engine.generate([ids], max_new_tokens=COMPARED_TOKENS, temperature=0)
    ours = list(sample.token_ids)
    theirs, logits = _by_transformers(policy, ids)
    shown = repr(policy.template.decode(ours))
    differing = [n for n, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other]
    if not differing and len(ours) == len(theirs):
        return Finding("engine", "ok", f"its {len(ours)} first greedy tokens are those of transformers: {shown}")
    n = differing[0] if differing else min(len(ours), len(theirs))
    if differing and abs(float(logits[n][theirs[n]] - logits[n][ours[n]])) <= TIE[dtype]:
        return Finding("engine", "ok", f"writes as transformers does, up to a tie at token {n + 1}: {shown}")
    detail = f"differs from transformers at greedy token {n + 1}: {shown} and {policy.template.decode(theirs)!r}"
    return Finding("engine", "problem", detail, "Do not train this model; report it with its config.json.")


def check_speed(policy: Policy, engine: Engine) -> Finding:
    """How fast one answer is written, its prompt not counted."""
    engine.stop_ids = [-1]  # no token, so that the answer has the length that is timed
    stream = engine.stream(policy.template.prompt_ids(QUESTION), max_new_tokens=1 + TIMED_TOKENS)
    next(stream)
    began = time.perf_counter()
    count = sum(1 for _ in stream)
    engine.stop_ids = sorted(policy.template.stop_ids)
    return Finding("speed", "ok", f"{count / (time.perf_counter() - began):.0f} tokens/s, one answer at a time")


def _by_transformers(policy: Policy, ids: list[int]) -> tuple[list[int], Sequence[Tensor]]:
    """The first greedy tokens by transformers' own generate, and the logits each was chosen from, `[V]`."""
    model: Any = policy.model
    inputs = torch.tensor([ids], device=policy.trunk.device)
    kept, model.generation_config = model.generation_config, GenerationConfig()  # no penalties of the model's own
    attention = policy.trunk.config._attn_implementation
    if attention == ROW_ATTENTION:
        model.set_attn_implementation("sdpa")  # transformers' own
    try:
        with torch.no_grad():
            output = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=COMPARED_TOKENS,
                eos_token_id=sorted(policy.template.stop_ids),
                pad_token_id=policy.template.pad_id,
                return_dict_in_generate=True,
                output_logits=True,
            )
    finally:
        model.generation_config = kept
        model.set_attn_implementation(attention)
    return output.sequences[0, len(ids) :].tolist(), [step[0].float() for step in output.logits]


def _special_tokens(template: ChatTemplate) -> dict[int, str]:
    """Tokens that steer a conversation: the special ones and what the template writes."""
    conversation = Prompt((*QUESTION.messages, Message("assistant", "Paris."), *QUESTION.messages))
    written = set(template.prompt_ids(conversation))
    harmless = {template.tokenizer.unk_token_id} - template.stop_ids  # stands for text that the vocabulary lacks
    added = template.tokenizer.added_tokens_decoder.items()
    return {i: one.content for i, one in added if (one.special or i in written) and i not in harmless}


def _count(template: ChatTemplate, text: str, special: dict[int, str]) -> Counter[int]:
    ids = template.prompt_ids(Prompt((Message("user", f"Say {text} again."),)))
    return Counter(i for i in ids if i in special)


def _millions(policy: Policy) -> str:
    return f"{sum(parameter.numel() for parameter in policy.model.parameters()) / 1e6:,.1f} M"


def _token(template: ChatTemplate, token_id: int) -> str:
    return repr(template.tokenizer.convert_ids_to_tokens(token_id))


def _tokens(template: ChatTemplate, token_ids: frozenset[int]) -> str:
    return " and ".join(_token(template, token_id) for token_id in sorted(token_ids))
