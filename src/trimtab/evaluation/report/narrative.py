"""What happened in this run, in sentences with its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from trimtab.evaluation.format import change_estimate_text, estimate_text, value_text
from trimtab.evaluation.report.content import MetricRow
from trimtab.evaluation.report.records import StageRecord, is_scored_by_checks
from trimtab.evaluation.report.texts import AFTER
from trimtab.evaluation.statistics import Estimate

_FEW = 5


def here(stage: StageRecord) -> str:
    """What a stage did, with its numbers; says only what the artifact records."""
    tell = _TELLERS.get(stage.kind)
    sentences = tell(stage) if tell else []
    return " ".join(sentence for sentence in sentences if sentence)


def duration_text(seconds: float) -> str:
    """A duration as people say it: 42 seconds, 7 minutes, 1 hour 5 minutes."""
    if seconds < 90:
        return _count(round(seconds), "second")
    minutes = round(seconds / 60)
    if minutes < 60:
        return _count(minutes, "minute")
    hours, minutes = divmod(minutes, 60)
    return _count(hours, "hour") + (f" {_count(minutes, 'minute')}" if minutes else "")


def summary_text(headline: MetricRow | None, models: Sequence[str], seconds: float, *, counted: str = "prompts") -> str:
    """The report in two or three sentences."""
    took = f"The whole run took {duration_text(seconds)}." if seconds else ""
    found = [one for one in headline.by_model[: len(models)] if one is not None] if headline else []
    if not headline or not found:
        return took
    first, last = (value_text(one.value, headline.unit) for one in (found[0], found[-1]))
    change = f"{first} for {models[0]}, {last} for {models[-1]}" if len(found) > 1 else f"{first}"
    kind = "" if headline.group == "all" else f"{headline.group} "
    return (
        f"{headline.title}: {change}. Measured on {found[0].n} {kind}{counted} that no step learnt from. The ranges "
        f"are 95 % intervals: where the true figure plausibly lies. {took}"
    ).strip()


def model_notes(models: Sequence[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """For each model, in a few words, what this run had done to it, by the kind of stage that made it."""
    return tuple(AFTER.get(kinds.get(name, ""), "as it came") for name in models)


def scored_by_checks(stage: StageRecord) -> bool:
    """Whether a stage's model was scored by the checks in its data, not by a model."""
    return is_scored_by_checks(stage.kind, stage.config)


def _sft(stage: StageRecord) -> list[str]:
    examples, tokens = stage.summary.get("demonstrations"), stage.summary.get("response_tokens")
    epochs = stage.config.get("num_epochs")
    read = ""
    if examples is not None:
        size = f" ({tokens:,} tokens of answers; a token is a word or a piece of one)" if tokens else ""
        times = f", {_times(epochs)}" if epochs else ""
        if stage.config.get("max_steps"):
            times = f", {_times(epochs)} at most" if epochs else ""
        read = f"It read {_count(examples, 'example')}{size}{times}, in {_count(len(stage.metrics), 'step')}."
    return [read, _change(stage, "sft/loss", "Its surprise at the example answers went from {} to {}.", 2)]


def _revise(stage: StageRecord) -> list[str]:
    prompts, kept, rounds = (stage.summary.get(name) for name in ("prompts", "revisions", "rounds"))
    if prompts is None or kept is None or rounds is None:
        return []
    helpful = stage.summary.get("helpful")
    return [
        f"It answered {_count(prompts, 'request')} and revised each answer {_times(rounds)}. Of {prompts * rounds:,} "
        f"revisions {kept:,} were kept{_dropped(stage)}.",
        _scored_by(stage),
        f"{_count(helpful, 'answer')} to harmless requests were mixed in." if helpful else "",
    ]


def _dropped(stage: StageRecord) -> str:
    """What a stage's filters dropped, the most frequent reason first; nothing where they dropped nothing."""
    reasons = sorted(stage.summary.get("dropped", {}).items(), key=lambda item: -item[1])
    return f"; dropped: {', '.join(f'{reason} {count}' for reason, count in reasons)}" if reasons else ""


def _asked(stage: StageRecord, setting: str) -> str:
    """The model that a stage asks: the setting's, or the one behind a server."""
    return stage.config.get(setting) or (stage.config.get("endpoint") or {}).get("model", "a model")


def _scored_by(stage: StageRecord) -> str:
    """What told revisions apart, as far as the stage says."""
    scorer = stage.config.get("scorer")
    if not scorer:
        return "No model scored them: what is kept passed the rules alone."
    gain = stage.summary.get("gain")
    if gain is None:
        return f"{scorer} scored them."
    found = Estimate.from_json(gain)
    tries = stage.config.get("num_revisions", 1)
    best = f", each being the best of {tries} by that very score, which flatters it" if tries > 1 else ""
    return (
        f"{scorer} scored them: the last revisions, kept or not, lie {change_estimate_text(found, 'score')} from the "
        f"first answers{best}."
    )


def _self_instruct(stage: StageRecord) -> list[str]:
    summary = stage.summary
    if "kept" not in summary:
        return []
    kept, asked = summary["kept"], summary["instructions"]["asked"]
    return [
        f"{_asked(stage, 'model')} was shown some of {_count(summary['seeds'], 'task')} by people at a time and asked "
        f"for {_count(asked, 'new task')} in {_count(summary['rounds'], 'round')}. {_count(kept['tasks'], 'task')} "
        f"with {_count(kept['instances'], 'answer')} were kept{_dropped(stage)}.",
        f"{_count(summary['seed_rows'], 'answer')} by people were mixed in." if summary.get("seed_rows") else "",
    ]


def _text_tuning(stage: StageRecord) -> list[str]:
    tokens, held_out = stage.summary.get("tokens"), stage.summary.get("held_out_characters")
    if tokens is None or held_out is None:
        return []
    rows = f" of {stage.config['batch_size']} rows of {stage.config['max_length']} tokens"
    return [
        f"It had {stage.summary['characters']:,} characters to learn from ({tokens:,} tokens; a token is a word or a "
        f"piece of one) and took {_count(len(stage.metrics), 'step')}{rows}. The last {held_out:,} characters were "
        "kept away from it.",
        _change(stage, "sft/loss", "Its surprise at what it read went from {} to {} nats a token.", 2),
    ]


def _judge(stage: StageRecord) -> list[str]:
    pairs, kept = stage.summary.get("pairs"), stage.summary.get("comparisons")
    if pairs is None or kept is None:
        return []
    told = f"{_asked(stage, 'judge')} compared {_count(pairs, 'pair')} of answers and decided {kept:,}."
    accuracy = (stage.summary.get("trusted") or {}).get("accuracy")
    if accuracy is None:
        return [told, "How good this judge is, nobody measured."]
    found = Estimate.from_json(accuracy)
    better = "" if found.low > 0.5 else " That is no better than guessing."
    decided = Estimate.from_json(stage.summary["trusted"]["decided"])
    return [
        told,
        f"Of {_count(stage.summary['trusted']['comparisons'], 'choice')} that are known it decided "
        f"{100 * decided.value:.0f} %, and of those it is right in {estimate_text(found, 'share')}, n = {found.n}; "
        f"guessing gives 50 %.{better}",
        _fooled(stage),
    ]


def _fooled(stage: StageRecord) -> str:
    """How often a judge fell for answers that told it what to say, where that was tried."""
    tried = stage.summary.get("injections")
    if tried is None:
        return "Whether it falls for answers that tell it what to say, this run did not try."
    if tried["overall"] is None:
        return "It knows none of the easy pairs on which answers that tell it what to say are tried."
    found = Estimate.from_json(tried["overall"])
    return f"It fell for {estimate_text(found, 'share')} of answers that told it what to say, n = {found.n}."


def _reward_model(stage: StageRecord) -> list[str]:
    accuracy = _ends(stage, "reward_model/accuracy")
    fits = ""
    if accuracy:
        fits = (
            f"Towards the end its scores agreed with {100 * accuracy[1]:.0f} % of the choices it was learning from. "
            "How it does on comparisons it has not seen is another matter."
        )
    return [_comparisons(stage), fits, _on_unseen(stage)]


def _on_unseen(stage: StageRecord) -> str:
    """How a reward model did on comparisons kept away from it, where it was measured."""
    found = (stage.summary.get("held_out") or {}).get("accuracy")
    if found is None:
        return ""
    accuracy = Estimate.from_json(found)
    return f"On those kept away from it, it is right in {estimate_text(accuracy, 'share')}, n = {accuracy.n}."


def _dpo(stage: StageRecord) -> list[str]:
    accuracy = _ends(stage, "dpo/accuracy")
    fits = ""
    if accuracy:
        fits = (
            f"Towards the end the preferred answer had gained more than the other one in {100 * accuracy[1]:.0f} % of "
            "the choices it was learning from. What counts is what it writes by itself, below."
        )
    return [_comparisons(stage), fits]


def _comparisons(stage: StageRecord) -> str:
    comparisons = stage.summary.get("comparisons")
    if comparisons is None:
        return ""
    steps = _count(len(stage.metrics), "step")
    if stage.config.get("frozen"):
        return (
            f"It had {_count(comparisons, 'comparison')} to learn from. The model stays as it is; only how a score is "
            "made of what it has in mind is learnt."
        )
    if stage.config.get("max_steps"):
        return f"It had {_count(comparisons, 'comparison')} to learn from and was stopped after {steps}."
    return f"It learnt from {_count(comparisons, 'comparison')} in {steps}."


def _practice(stage: StageRecord) -> list[str]:
    responses, prompts = stage.summary.get("responses"), stage.summary.get("prompts")
    wrote = ""
    if responses is not None and prompts is not None:
        wrote = (
            f"In {_count(len(stage.metrics), 'step')} it wrote {_count(responses, 'answer')}, on a pool of "
            f"{_count(prompts, 'prompt')}."
        )
    score = "The judge's mean score went from {} to {},"
    if scored_by_checks(stage):
        score = "The mean share of checks that an answer passed went from {} to {},"
    return [
        wrote,
        _change(stage, "score/mean", score, 2),
        _change(stage, "kl/ref", "drift (KL) from {} to {} nats an answer,", 2),
        _change(stage, "response/length", "length from {} to {} tokens.", 1),
    ]


_TELLERS: Mapping[str, Callable[[StageRecord], list[str]]] = {
    "judge": _judge,
    "revise": _revise,
    "self_instruct": _self_instruct,
    "sft": _sft,
    "text_tuning": _text_tuning,
    "reward_model": _reward_model,
    "dpo": _dpo,
    "ppo": _practice,
    "grpo": _practice,
}


def _change(stage: StageRecord, metric: str, sentence: str, decimals: int) -> str:
    ends = _ends(stage, metric)
    return sentence.format(*(f"{value:.{decimals}f}".replace("-", "−") for value in ends)) if ends else ""


def _ends(stage: StageRecord, metric: str) -> tuple[float, float] | None:
    """A metric's mean over its first and its last few steps (one step of a short run)."""
    values = [value for value in stage.curve(metric)[1] if math.isfinite(value)]
    if not values:
        return None
    few = min(_FEW, max(1, len(values) // 4))
    return math.fsum(values[:few]) / few, math.fsum(values[-few:]) / few


def _times(epochs: float) -> str:
    return {1.0: "once", 2.0: "twice"}.get(epochs, f"{epochs:g} times")


def _count(number: float, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
