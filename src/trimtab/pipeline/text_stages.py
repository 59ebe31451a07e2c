"""The stages on plain text: fine-tuning on it, and measuring what came of that on the part held out."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
from typing import Any

from trimtab.config import TextEvaluationStage, TextTuningStage
from trimtab.data.passages import Passage
from trimtab.data.text import Parts
from trimtab.data.text_tokens import TextTokens
from trimtab.errors import Interrupted
from trimtab.evaluation.overlap import runs_in_common, words_of
from trimtab.evaluation.style import StyleClassifier
from trimtab.evaluation.text_loss import passage_losses
from trimtab.evaluation.text_summary import STRETCH, THE_TEXT, Writer, evaluate_text
from trimtab.generation.engine import Engine
from trimtab.models.policy import Policy
from trimtab.pipeline.context import Context
from trimtab.pipeline.data_checks import text_to_measure_on
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.evaluation_stage import named_models
from trimtab.pipeline.reading import text_parts
from trimtab.pipeline.resolve import Inputs, hardware, load_writer, source
from trimtab.pipeline.trained_models import Summary, load_for_training, optimizer_settings, save_merged
from trimtab.seeds import mix
from trimtab.training.encoding import watching
from trimtab.training.packing import packed_rows
from trimtab.training.passes import Passes
from trimtab.training.sft import train_sft

Measured = dict[str, Any]
"""A model's `nats` and `tokens` of each held-out passage, its `samples` after their openings, and (of the base) the
`contrast`: samples after openings from the part that is learnt from."""


def run_text_tuning(config: TextTuningStage, inputs: Inputs, context: Context) -> Summary:
    """Fine-tune a model on plain text. The artifact is a plain model, an adapter merged into it."""
    policy = load_for_training(config, inputs, context)
    parts = text_parts(config, watching(context, "tokenising the text"))
    rows = packed_rows(parts.learnt(), TextTokens(policy.tokenizer), length=config.max_length, run=context)
    train_sft(
        policy,
        rows,
        passes=Passes(config.num_epochs, config.batch_size, config.max_steps),
        settings=optimizer_settings(config),
        seed=context.seed,
        checkpoint_seconds=config.checkpoint_seconds,
        run=context,
    )
    save_merged(policy, context)
    return {
        "rows": len(rows),
        "tokens": sum(len(response) for row in rows for response in row.responses),
        "characters": parts.border,
        "held_out_characters": parts.length - parts.border,
    }


def run_text_evaluation(config: TextEvaluationStage, inputs: Inputs, context: Context) -> Summary:
    """Measure a base model and those made from it on held-out text.

    Writes `evaluation.json`, every sample, and what the classifier learnt from.
    """
    parts, held_out, known = text_to_measure_on(config, context.learnt_from)
    measured = {
        name: _measured(place, name, source(inputs, model), held_out, known if place == 0 else (), config, context)
        for place, (name, model) in enumerate(named_models(config).items())
    }
    contrast = next(iter(measured.values()))["contrast"]
    classifier = StyleClassifier.fit([one.text[:STRETCH] for one in known], [text[:STRETCH] for text in contrast])
    measured[THE_TEXT] = {"samples": [one.text for one in held_out], "nats": (), "tokens": ()}
    kinds = {name: inputs[name].kind for name in config.models if name in inputs} | {THE_TEXT: "text"}
    writers = _writers(measured, kinds, parts)
    result = evaluate_text(writers, held_out, classifier, num_random=config.samples_in_report, seed=context.seed)
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    (context.folder / "evaluation.json").write_text(text, encoding="utf-8")
    _write_samples(writers, held_out, context)
    _write_contrast(known, contrast, context)
    return {"passages": len(held_out), "models": result["models"]}


def _writers(measured: dict[str, Measured], kinds: dict[str, str], parts: Parts) -> list[Writer]:
    samples = {name: [text[:STRETCH] for text in one["samples"]] for name, one in measured.items()}
    every = [text.split() for texts in samples.values() for text in texts]
    runs = iter(runs_in_common(every, words_of(piece.text for piece in parts.learnt())))
    return [
        Writer(name, texts, [next(runs) for _ in texts], kinds.get(name, ""), one["nats"], one["tokens"])
        for (name, one), texts in zip(measured.items(), samples.values(), strict=True)
    ]


def _measured(
    place: int,
    name: str,
    model: str,
    held_out: Sequence[Passage],
    known: Sequence[Passage],
    config: TextEvaluationStage,
    context: Context,
) -> Measured:
    """What is measured of a model, kept so that an interrupted stage does not measure the same model again."""
    kept, precision = context.state / f"measured-{place}.json", str(hardware(context.runtime))
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["precision"] == precision:
            return found
    except (OSError, ValueError):
        pass
    if context.stop_requested():
        raise Interrupted(f"stopped before {name} was measured; what the models before it did is saved")
    policy = load_writer(model, context.runtime, allow_remote_code=config.allow_remote_code)
    tokens, progress = TextTokens(policy.tokenizer), _progress(context, name)
    nats, lengths = passage_losses(policy, tokens, held_out, on_progress=progress("reads held-out text"))
    seed = context.seed
    measured = {
        "precision": precision,
        "nats": nats,
        "tokens": lengths,
        "samples": _continue(policy, tokens, held_out, config, seed, progress("writes on held-out text")),
        "contrast": _continue(policy, tokens, known, config, mix(seed, 1), progress("writes to compare with")),
    }
    del policy
    gc.collect()  # one model's memory is free before the next is loaded
    replace_text(kept, json.dumps(measured))
    return measured


def _progress(context: Context, name: str) -> Callable[[str], Callable[[int, int], None]]:
    return lambda what: lambda done, total: context.progress(f"{name} {what}", done, total)


def _continue(
    policy: Policy,
    tokens: TextTokens,
    passages: Sequence[Passage],
    config: TextEvaluationStage,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> list[str]:
    """What a model writes after the opening of each passage."""
    if not passages:
        return []
    prompts = [[tokens.start_id, *tokens.encode(one.opening)] for one in passages]
    groups = Engine.of(policy).generate(
        prompts,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=seed,
        on_progress=on_progress,
    )
    return [tokens.decode_after(prompt, group[0].token_ids) for prompt, group in zip(prompts, groups, strict=True)]


def _write_samples(writers: Sequence[Writer], passages: Sequence[Passage], context: Context) -> None:
    """Every sample, one line a passage, with what a reader needs to measure it anew."""
    with (context.folder / "samples.jsonl").open("w", encoding="utf-8") as file:
        for index, passage in enumerate(passages):
            samples = {writer.name: writer.samples[index] for writer in writers}
            nats = {writer.name: writer.nats[index] for writer in writers if writer.nats}
            line = {"before": passage.before, "passage": passage.text, "samples": samples, "nats": nats}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write_contrast(known: Sequence[Passage], contrast: Sequence[str], context: Context) -> None:
    """What the classifier learnt from: passages of the text, and what the base model wrote in their place."""
    with (context.folder / "contrast.jsonl").open("w", encoding="utf-8") as file:
        for passage, sample in zip(known, contrast, strict=True):
            line = {"before": passage.before, "passage": passage.text, "sample": sample}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
