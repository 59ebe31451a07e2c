"""Judges as stages use them: a reward model, or a language model with instructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from trimtab.config import JudgeStage
from trimtab.data.chat import ChatTemplate
from trimtab.errors import RecipeError
from trimtab.feedback.constitution import read_constitution
from trimtab.feedback.judge import Instructions, Judgement, Manner, Pair, Vote, judge
from trimtab.feedback.scorers import score_texts
from trimtab.generation.local import LocalModel
from trimtab.models.loading import load_reward_model
from trimtab.models.registry import load_tokenizer
from trimtab.pipeline.context import Context
from trimtab.pipeline.resolve import Inputs, hardware, load_writer, source

Judge = Callable[[Sequence[Pair]], list[Judgement]]
PLAIN_QUESTION = (("better", "Which answer is better?"),)
BY_SCORE = "score"
"""What a reward model's only vote is called."""


def open_judge(config: JudgeStage, inputs: Inputs, context: Context) -> tuple[Judge, str]:
    """The stage's judge, and the version of what it goes by.

    Raises `RecipeError` for instructions to a reward model, which reads none.
    """
    name = config.judge
    if name in inputs and inputs[name].kind == "reward_model":
        if config.instructions or config.constitution:
            raise RecipeError(f"{name} is a reward model, which reads no instructions: leave them and constitution out")
        return _by_reward_model(Path(source(inputs, name)), config, context), inputs[name].key[:12]
    instructions = read_instructions(config)
    policy = load_writer(source(inputs, name), context.runtime, allow_remote_code=config.allow_remote_code)
    model = LocalModel(policy, name=name)
    manner = Manner(config.ask, config.thinking, config.clamp, config.undecided, config.disagreement)

    def by_instructions(pairs: Sequence[Pair]) -> list[Judgement]:
        return judge(model, pairs, instructions, manner=manner, seed=context.seed, progress=context.progress)

    return by_instructions, instructions.version


def read_instructions(config: JudgeStage) -> Instructions:
    """What the judge is told, and the questions it is asked."""
    text = Path(config.instructions).read_text(encoding="utf-8") if config.instructions else ""
    questions: tuple[tuple[str, str], ...] = PLAIN_QUESTION
    if config.constitution:
        principles = read_constitution(Path(config.constitution)).principles
        questions = tuple((principle.id, principle.comparison) for principle in principles)
    return Instructions(text, questions)


def _by_reward_model(folder: Path, config: JudgeStage, context: Context) -> Judge:
    device, dtype = hardware(context.runtime)
    model = load_reward_model(folder, compute_dtype=dtype, device=device, allow_remote_code=config.allow_remote_code)
    template = ChatTemplate(load_tokenizer(str(folder)))

    def by_score(pairs: Sequence[Pair]) -> list[Judgement]:
        """By Bradley-Terry: the logistic function of the difference of scores. There is no order to it."""
        scores = score_texts(model, template, [(pair.prompt, [pair.first, pair.second]) for pair in pairs])
        context.progress("judging", len(pairs), len(pairs))
        return [_judgement(1 / (1 + math.exp(second - first)), config.undecided) for first, second in scores]

    return by_score


def _judgement(probability: float, undecided: float) -> Judgement:
    votes = (Vote(BY_SCORE, probability, probability, 1.0),)
    if abs(probability - 0.5) < undecided:
        return Judgement(None, "undecided", votes)
    return Judgement(probability, "", votes)
