"""The evaluation stage: every model answers the held-out prompts, a reward model scores, the numbers are computed."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.config import EvaluationStage, TextEvaluationStage
from trimtab.config.recipe import BASE
from trimtab.data.chat import ChatTemplate
from trimtab.errors import Interrupted, RecipeError
from trimtab.evaluation.answers_file import write_answers
from trimtab.evaluation.outputs import TEMPLATED, ModelOutputs
from trimtab.evaluation.report.records import is_scored_by_checks
from trimtab.evaluation.representation import read_attributes
from trimtab.evaluation.summary import Judge, ScoredComparisons, evaluate
from trimtab.evaluation.verdicts import Bars, Promise
from trimtab.feedback.scorers import score_comparisons
from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.models.registry import load_tokenizer
from trimtab.models.reward_model import RewardModel
from trimtab.pipeline.answer_scores import with_scores
from trimtab.pipeline.artifacts import ANSWERS, read_artifact
from trimtab.pipeline.context import Context
from trimtab.pipeline.data_checks import held_out_data
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.resolve import Inputs, hardware, load_scorer, load_writer, source
from trimtab.training.encoding import check_prompts
from trimtab.types import Comparison, Completion, Message, Prompt

BASE_AS_CHAT = "base as chat"
"""What the base is called when it is asked a second time, with a chat template."""

Groups = list[list[Completion]]


def run_evaluation(config: EvaluationStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Measure a base model and the models made from it. Writes `evaluation.json` and every answer that was given."""
    prompts, comparisons = held_out_data(config, context.learnt_from)
    outputs = []
    shown = [Prompt((Message("user", text),)) for text in config.show]
    for place, asked in enumerate(_models(config, inputs)):
        greedy, sampled = _answers(place, asked, [*prompts, *shown], config, context)
        answers = [group[0] for group in greedy]
        outputs.append(
            ModelOutputs(
                asked.name,
                answers[: len(prompts)],
                kind=asked.kind,
                sampled=sampled[: len(prompts)],
                shown=answers[len(prompts) :],
            )
        )
    scored, judge = None, Judge()
    if config.reward_model is not None:
        folder = Path(source(inputs, config.reward_model))
        allow = config.allow_remote_code
        reward_model, template = load_scorer(folder, context.runtime, allow_remote_code=allow)
        outputs = [with_scores(one, reward_model, template, context.progress) for one in outputs]
        if comparisons:
            said = read_attributes(Path(config.attributes)) if config.attributes else {}
            scored = dataclasses.replace(_score_comparisons(comparisons, reward_model, template), attributes=said)
        judge = Judge(_shown(config.reward_model, inputs), _trained_by(config, context))
    result = evaluate(
        outputs,
        prompts,
        scored=scored,
        judge=judge,
        trained_on_checks=_trained_on_checks(config, inputs),
        bars=Bars(**config.bars.model_dump()) if config.bars else None,
        promises=[Promise(one.claim, one.group, one.largest_loss) for one in config.promises],
        num_random=config.samples_in_report,
        seed=context.seed,
    )
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    (context.folder / "evaluation.json").write_text(text, encoding="utf-8")
    write_answers(outputs, context.folder / ANSWERS)
    return {"prompts": len(prompts), "models": result["models"], "comparisons": len(comparisons)}


def named_models(config: EvaluationStage | TextEvaluationStage) -> dict[str, str]:
    """What each model is called in the results, and where it is. Names tell nothing of a machine's folders."""
    models = {BASE: config.base}
    for model in config.models:
        name = Path(model).name if Path(model).is_absolute() else model
        if name in models:
            raise RecipeError(f"two of the models are called {name!r}, so their results could not be told apart")
        models[name] = model
    return models


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model to ask: its name in the results, which tells nothing of a machine's folders, and where it is.

    `kind` is as in `ModelOutputs`; `chat_template` takes the place of the model's own.
    """

    name: str
    model: str
    kind: str
    chat_template: str | None = None


def _models(config: EvaluationStage, inputs: Inputs) -> list[_Asked]:
    asked = [
        _Asked(name, source(inputs, one), inputs[one].kind if one in inputs else "")
        for name, one in named_models(config).items()
    ]
    if config.base_both_ways and not load_tokenizer(asked[0].model).chat_template:
        template = load_tokenizer(asked[1].model).chat_template
        if template:
            asked.insert(1, _Asked(BASE_AS_CHAT, asked[0].model, TEMPLATED, template))
    return asked


def _shown(model: str, inputs: Inputs) -> str:
    return model if model in inputs else Path(model).name


def _trained_by(config: EvaluationStage, context: Context) -> str:
    """The first model that was trained to please the judge, or made from one that was; empty when none was."""
    records = {record.name: record for record in (read_artifact(folder).record for folder in context.folders)}

    def pleased(name: str) -> bool:
        inputs = records[name].inputs if name in records else ()
        return config.reward_model in inputs or any(map(pleased, inputs))

    return next((name for name in config.models if pleased(name)), "")


def _trained_on_checks(config: EvaluationStage, inputs: Inputs) -> list[str]:
    """The models whose own training was scored by checks like those they are measured by."""
    made = {name: inputs[name].record for name in config.models if name in inputs}
    return [name for name, one in made.items() if is_scored_by_checks(one.kind, one.config)]


def _answers(
    place: int, asked: _Asked, prompts: Sequence[Prompt], config: EvaluationStage, context: Context
) -> tuple[Groups, Groups]:
    """A model's greedy and sampled answers, kept so that an interrupted stage does not ask the same model again."""
    kept = context.state / f"answers-{place}.json"
    precision = str(hardware(context.runtime))
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["precision"] == precision:
            return _restored(found["greedy"], prompts), _restored(found["sampled"], prompts)
    except (OSError, ValueError):
        pass
    if context.stop_requested():
        raise Interrupted(f"stopped before {asked.name} answered; the answers of the models before it are saved")
    greedy, sampled = _ask(asked, prompts, config, context)
    gc.collect()  # one model's memory is free before the next is loaded
    answers = {"precision": precision, "greedy": _plain(greedy), "sampled": _plain(sampled)}
    replace_text(kept, json.dumps(answers))
    return greedy, sampled


def _ask(asked: _Asked, prompts: Sequence[Prompt], config: EvaluationStage, context: Context) -> tuple[Groups, Groups]:
    policy = load_writer(
        asked.model,
        context.runtime,
        chat_template=asked.chat_template,
        allow_remote_code=config.allow_remote_code,
    )
    template = policy.template
    limit = getattr(policy.trunk.config, "max_position_embeddings", None)
    if limit is not None:
        check_prompts(prompts, template, max_length=limit - config.max_new_tokens, run=context)
    engine = Engine.of(policy)

    def answers(how: str, group_size: int, temperature: float) -> Groups:
        return complete(
            engine,
            template,
            prompts,
            group_size=group_size,
            max_new_tokens=config.max_new_tokens,
            temperature=temperature,
            seed=context.seed,
            on_progress=lambda done, total: context.progress(f"{asked.name} answers, {how}", done, total),
        )

    greedy = answers("greedy", 1, 0.0)
    return greedy, answers("sampled", config.group_size, config.temperature) if config.group_size else []


def _score_comparisons(
    comparisons: Sequence[Comparison], judge: RewardModel, template: ChatTemplate
) -> ScoredComparisons:
    return ScoredComparisons(comparisons, *score_comparisons(judge, template, comparisons))


def _plain(groups: Groups) -> list[list[dict[str, Any]]]:
    """Completions as JSON values, without the prompt, which the data has."""
    fields = ("text", "token_ids", "logprobs", "finish_reason")
    return [[{name: getattr(one, name) for name in fields} for one in group] for group in groups]


def _restored(groups: list[list[dict[str, Any]]], prompts: Sequence[Prompt]) -> Groups:
    return [
        [
            Completion(prompt, one["text"], tuple(one["token_ids"]), tuple(one["logprobs"]), one["finish_reason"])
            for one in group
        ]
        for prompt, group in zip(prompts, groups, strict=bool(groups))
    ]
