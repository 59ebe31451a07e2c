"""Judges as stages use them: a reward model, or a language model with instructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from pathlib import Path

from trimtab.config import JudgeStage
from trimtab.data.chat import ChatTemplate
from trimtab.errors import Interrupted, ModelError, RecipeError
from trimtab.evaluation.judge_measures import Judged, JudgeReport, Own, judge_report
from trimtab.feedback.instructions import read_instructions
from trimtab.feedback.judge import (
    Instructions,
    Judgement,
    Manner,
    Pair,
    Vote,
    judge,
)
from trimtab.feedback.language_model import LanguageModel, Progress
from trimtab.feedback.scorers import score_texts
from trimtab.generation.local import LocalModel
from trimtab.models.loading import is_reward_model
from trimtab.models.registry import fingerprint
from trimtab.models.reward_model import RewardModel
from trimtab.pipeline.context import Context
from trimtab.pipeline.endpoints import stage_endpoint
from trimtab.pipeline.resolve import Inputs, load_scorer, load_writer, source
from trimtab.types import Comparison, Prompt

Judge = Callable[[Sequence[Pair]], list[Judgement]]
BY_SCORE = "score"
"""What a reward model's only vote is called."""


def open_judge(config: JudgeStage, inputs: Inputs, context: Context) -> tuple[Judge, str]:
    """The stage's judge, and the version of what it goes by.

    Raises `RecipeError` for instructions to a reward model, which reads none.
    """
    manner = manner_of(config)
    if config.judge is None:
        instructions = read_instructions(config.instructions, config.constitution)
        remote = stage_endpoint(config.endpoint, context)
        return by_instructions(remote, instructions, manner, context.seed, _until_asked(context)), instructions.version
    name, folder = config.judge, source(inputs, config.judge)
    if is_reward_model(Path(folder)):
        if config.instructions or config.constitution:
            raise RecipeError(f"{name} is a reward model, which reads no instructions: leave them and constitution out")
        model = load_scorer(Path(folder), context.runtime, allow_remote_code=config.allow_remote_code)
        return by_scores(*model, undecided=config.undecided), _version(name, inputs)
    instructions = read_instructions(config.instructions, config.constitution)
    policy = load_writer(folder, context.runtime, allow_remote_code=config.allow_remote_code)
    reader = LocalModel(policy, name=name)
    return by_instructions(reader, instructions, manner, context.seed), instructions.version


def _until_asked(context: Context) -> Progress:
    """Stops between two calls to a server: each that was made is in its log, and is not paid for again."""

    def heard(*_: object) -> None:
        if context.stop_requested():
            raise Interrupted("stopped between two calls to the server; the answers that came are kept")

    return heard


def _version(reward_model: str, inputs: Inputs) -> str:
    """What tells a reward model from another: its stage's key, or the fingerprint of its files."""
    key = inputs[reward_model].key if reward_model in inputs else fingerprint(reward_model).partition(":")[2]
    return key[:12]


def manner_of(config: JudgeStage, *, fence: bool = True) -> Manner:
    """How the stage's judge judges."""
    settings = {name: getattr(config, name) for name in Manner.__dataclass_fields__ if name != "fence"}
    return Manner(**settings, fence=fence)


def by_instructions(
    model: LanguageModel, instructions: Instructions, manner: Manner, seed: int, progress: Progress = lambda *_: None
) -> Judge:
    """A language model that reads instructions."""
    return lambda pairs: judge(model, pairs, instructions, manner=manner, seed=seed, progress=progress)


def by_scores(
    model: RewardModel, template: ChatTemplate, *, undecided: float, progress: Progress = lambda *_: None
) -> Judge:
    """A reward model, by Bradley-Terry: the logistic function of the difference of scores. There is no order to it."""

    def judged(pairs: Sequence[Pair]) -> list[Judgement]:
        answers: dict[Prompt, dict[str, None]] = {}  # each is scored once, in however many pairs it stands
        for pair in pairs:
            answers.setdefault(pair.prompt, {}).update({pair.first: None, pair.second: None})
        scores = score_texts(model, template, [(prompt, list(texts)) for prompt, texts in answers.items()])
        of = {
            (prompt, text): score
            for (prompt, texts), values in zip(answers.items(), scores, strict=True)
            for text, score in zip(texts, values, strict=True)
        }
        progress("judging", len(pairs), len(pairs))
        margins = [of[pair.prompt, pair.first] - of[pair.prompt, pair.second] for pair in pairs]
        if not all(map(math.isfinite, margins)):
            raise ModelError("the reward model gave an answer a score that is not finite, so it judges nothing")
        return [_judgement((1 + math.tanh(margin / 2)) / 2, undecided) for margin in margins]

    return judged


def _judgement(probability: float, undecided: float) -> Judgement:
    votes = (Vote(BY_SCORE, probability, probability, 1.0),)
    if abs(probability - 0.5) < undecided:
        return Judgement(None, "undecided", votes)
    return Judgement(probability, "", votes)


def measure_judge(
    judge: Judge, trusted: Sequence[Comparison], own: Container[tuple[Prompt, str]] = frozenset()
) -> JudgeReport:
    """A judge beside people's labels. Every other pair is shown the other way round, so that no place is favoured.

    `own` are answers that the judge itself wrote.
    """
    pairs = [
        Pair(one.prompt, *((one.rejected, one.chosen) if place % 2 else (one.chosen, one.rejected)))
        for place, one in enumerate(trusted)
    ]
    return judge_report(
        [
            _beside(comparison, found, turned=bool(place % 2), own=_own(comparison, own))
            for place, (comparison, found) in enumerate(zip(trusted, judge(pairs), strict=True))
        ]
    )


def _own(comparison: Comparison, own: Container[tuple[Prompt, str]]) -> Own:
    """Which response is the judge's own; neither when both are."""
    chosen, rejected = ((comparison.prompt, text) in own for text in (comparison.chosen, comparison.rejected))
    return "" if chosen == rejected else "chosen" if chosen else "rejected"


def _beside(comparison: Comparison, found: Judgement, *, turned: bool, own: Own) -> Judged:
    """A judgement as one of `chosen`, whichever answer stood first."""
    in_front = [vote.in_front for vote in found.votes if vote.in_front is not None]
    behind = [vote.behind for vote in found.votes if vote.behind is not None]
    places, mass = None, None
    if found.votes and found.votes[0].question != BY_SCORE:
        mass = sum(vote.mass for vote in found.votes) / len(found.votes)
    if in_front and behind and mass is not None:
        places = (sum(in_front) / len(in_front), sum(behind) / len(behind))
        places = (1 - places[1], 1 - places[0]) if turned else places
    probability = found.probability
    if probability is not None and turned:
        probability = 1 - probability
    return Judged(comparison, probability, found.why, places, mass, own)
