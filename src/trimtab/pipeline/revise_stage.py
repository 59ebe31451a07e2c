"""The supervised half of Constitutional AI as a stage: drafts, critiques, revisions, and what is kept of them."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trimtab.config import ReviseStage
from trimtab.data.formats import read_prompts
from trimtab.errors import Interrupted
from trimtab.evaluation.statistics import mean
from trimtab.feedback.chains import JudgedChain, chain_row, demonstration_rows, from_state, messages, to_state
from trimtab.feedback.constitution import Constitution, WorkedExample, read_constitution, read_examples
from trimtab.feedback.language_model import Writer
from trimtab.feedback.red_team import write_red_team
from trimtab.feedback.revision import Chain, revise, write_drafts
from trimtab.feedback.revision_filter import KEPT, Scores, pick_best, verdict
from trimtab.feedback.scorers import score_texts
from trimtab.generation.local import LocalModel
from trimtab.pipeline.artifacts import CHAINS, DATA
from trimtab.pipeline.context import Context
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.endpoints import keep_calls, stage_endpoint
from trimtab.pipeline.reading import helpful_prompts, read_data
from trimtab.pipeline.resolve import Inputs, load_scorer, load_writer, source
from trimtab.seeds import mix
from trimtab.training.batches import permutation
from trimtab.training.encoding import watching
from trimtab.types import Message, Prompt

Row = dict[str, Any]


def run_revise(config: ReviseStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Answer, criticise, revise. Writes the revisions that passed the filter, and every chain for people to read."""
    constitution = read_constitution(Path(config.constitution))
    examples = read_examples(Path(config.examples)) if config.examples else ()
    writing = _Writing(config, inputs, context)
    prompts = _drawn(config, inputs, context)
    prompts += _red_team(config, context, prompts, writing)
    scores = _open_scorer(config, inputs, context)
    chains, helpful = _written(config, context, prompts, constitution, examples, scores, writing)
    keep_calls(config.endpoint, context)
    judged = _judged(config, context, chains, examples, _requests(constitution), scores)
    _write_lines(context.folder / CHAINS, [chain_row(one, n) for n, one in enumerate(judged, start=1)])
    revisions = [row for n, one in enumerate(judged, start=1) for row in demonstration_rows(one, n)]
    _write_lines(context.folder / DATA, revisions + helpful)
    gains = [one.scores[-1] - one.scores[0] for one in judged if one.scores]
    return {
        "prompts": len(prompts),
        "rounds": config.rounds,
        "constitution": constitution.version,
        "principles": {one.id: one.critique for one in constitution.principles},
        "revisions": len(revisions),
        "dropped": dict(Counter(reason for one in judged for reason in one.dropped if reason != KEPT)),
        "helpful": len(helpful),
        "gain": mean(gains).to_json() if len(gains) > 1 else None,
    }


def _drawn(config: ReviseStage, inputs: Inputs, context: Context) -> list[Prompt]:
    prompts = list(read_data(read_prompts, config, inputs, watching(context, "reading the prompts")))
    drawn = permutation(len(prompts), context.seed)[: config.num_prompts]
    return [prompts[i] for i in sorted(drawn)]


def _red_team(config: ReviseStage, context: Context, prompts: Sequence[Prompt], writing: _Writing) -> list[Prompt]:
    """The prompts that the model writes itself, if it is to."""
    if not config.written_prompts:
        return []

    def make() -> list[Row]:
        found = write_red_team(
            writing.load(config.model),
            prompts,
            config.written_prompts,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=mix(context.seed, 4),
            progress=context.progress,
        )
        return [{"prompt": one.messages[-1].content, "meta": dict(one.meta)} for one in found]

    rows = writing.rows("red-team", make)
    return [Prompt((Message("user", row["prompt"]),), row["meta"]) for row in rows]


def _written(
    config: ReviseStage,
    context: Context,
    prompts: Sequence[Prompt],
    constitution: Constitution,
    examples: Sequence[WorkedExample],
    scores: Scores,
    writing: _Writing,
) -> tuple[list[Chain], list[Row]]:
    """All chains and the rows of helpful answers. What was written before an interruption is read again."""
    settings: Row = {
        "max_new_tokens": config.max_new_tokens,
        "temperature": config.temperature,
        "progress": context.progress,
    }
    model = config.model
    chains = writing.chains(
        prompts, lambda: write_drafts(writing.load(model), prompts, seed=mix(context.seed, 1), **settings)
    )
    helpful = writing.rows("helpful", lambda: _helpful(config, writing.load(model), context))

    def one_round(before: Sequence[Chain]) -> list[Chain]:
        critic = writing.critic()
        return revise(
            critic,
            before,
            constitution,
            examples,
            num_examples=config.num_examples,
            num_revisions=config.num_revisions,
            pick=partial(pick_best, examples, _requests(constitution), scores),
            seed=mix(context.seed, 2),
            **settings,
        )

    for _ in range(config.rounds):
        chains = writing.chains(prompts, partial(one_round, chains))
    return chains, helpful


class _Writing:
    """What is written step by step and kept, with one model in memory at a time."""

    def __init__(self, config: ReviseStage, inputs: Inputs, context: Context) -> None:
        self.config, self.inputs, self.context = config, inputs, context
        self.step = 0
        self._loaded: tuple[str, LocalModel] | None = None

    def load(self, name: str) -> LocalModel:
        """The model of this name, in place of the one before."""
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None
            gc.collect()  # a model holds itself in cycles
            folder, remote = source(self.inputs, name), self.config.allow_remote_code
            policy = load_writer(folder, self.context.runtime, allow_remote_code=remote)
            self._loaded = name, LocalModel(policy, name=name)
        return self._loaded[1]

    def critic(self) -> Writer:
        """What criticises and revises."""
        if self.config.endpoint is not None:
            return stage_endpoint(self.config.endpoint, self.context)
        return self.load(self.config.critic or self.config.model)

    def chains(self, prompts: Sequence[Prompt], make: Callable[[], list[Chain]]) -> list[Chain]:
        """The chains of the next step, made unless they were kept."""
        self.step += 1
        kept = self.rows(f"chains-{self.step}", lambda: to_state(make()))
        return from_state(kept, prompts)

    def rows(self, name: str, make: Callable[[], list[Row]]) -> list[Row]:
        """Rows that were kept under this name, else made and kept."""
        file = self.context.state / f"{name}.json"
        if file.exists():
            return json.loads(file.read_text(encoding="utf-8"))
        if self.context.stop_requested():
            raise Interrupted(f"stopped before {name}; what was written before is saved")
        rows = make()
        replace_text(file, json.dumps(rows))
        return rows


def _helpful(config: ReviseStage, model: LocalModel, context: Context) -> list[Row]:
    """The model's own answers to prompts that only want help, for it to keep giving them; none that was cut off."""
    if config.helpful is None:
        return []
    prompts = list(helpful_prompts(config))
    groups = model.write(
        [_requested(prompt, config.helpful_request) for prompt in prompts],
        group_size=config.helpful_answers,
        max_new_tokens=config.helpful_max_new_tokens,
        temperature=config.temperature,
        seed=mix(context.seed, 3),
        on_progress=lambda done, total: context.progress("helpful answers", done, total),
    )
    return [
        {
            "id": f"{prompt.meta.get('id', f'helpful-{number}')}/{place}",
            "prompt": messages(prompt),
            "completion": [{"role": "assistant", "content": one.text}],
            "source": "helpful",
        }
        for number, (prompt, group) in enumerate(zip(prompts, groups, strict=True), start=1)
        for place, one in enumerate(group, start=1)
        if one.finish_reason == "stop" and one.text.strip()
    ]


def _requested(prompt: Prompt, request: str | None) -> Prompt:
    """A prompt with a request about the form of its answer at its end."""
    if request is None:
        return prompt
    *before, last = prompt.messages
    return Prompt((*before, Message(last.role, f"{last.content}\n\n{request}")), prompt.meta)


def _open_scorer(config: ReviseStage, inputs: Inputs, context: Context) -> Scores:
    """What scores answers: the stage's reward model, or, where there is none, nothing that tells them apart."""
    if config.scorer is None:
        return lambda answered: [[0.0] * len(answers) for _, answers in answered]
    folder = Path(source(inputs, config.scorer))
    return partial(score_texts, *load_scorer(folder, context.runtime, allow_remote_code=config.allow_remote_code))


def _requests(constitution: Constitution) -> list[str]:
    """Everything that a critic may be asked for."""
    return [request for one in constitution.principles for request in (one.critique, one.revision)]


def _judged(
    config: ReviseStage,
    context: Context,
    chains: Sequence[Chain],
    examples: Sequence[WorkedExample],
    requests: Sequence[str],
    scores: Scores,
) -> list[JudgedChain]:
    """The chains with what the filter says of every revision."""
    context.progress("scoring the revisions", 0, len(chains))
    found = scores([(one.prompt, [one.draft.text, *(each.revision.text for each in one.rounds)]) for one in chains])
    judged = []
    for chain, scored in zip(chains, found, strict=True):
        dropped = tuple(
            verdict(
                chain.prompt,
                chain.before(number),
                one.revision,
                examples,
                requests,
                gain=scored[number + 1] - scored[0] if config.scorer is not None else None,
                least_gain=config.least_gain,
            )
            for number, one in enumerate(chain.rounds)
        )
        judged.append(JudgedChain(chain, dropped, tuple(scored) if config.scorer is not None else ()))
    return judged


def _write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
