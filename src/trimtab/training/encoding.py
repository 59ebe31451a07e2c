"""Text records to token rows on the disk: the one place where training data is tokenised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TypeVar

from trimtab.algorithms.preference import MOST_TIED
from trimtab.data.chat import ChatTemplate
from trimtab.data.files import Watch
from trimtab.data.on_disk import Groups, chunks
from trimtab.errors import DataError, Interrupted
from trimtab.models.rows import TokenRow
from trimtab.training.row_files import (
    Graded,
    GradedRow,
    GradedRowFile,
    Pair,
    Placed,
    PreferenceRow,
    PreferenceRowFile,
    RankedRow,
    RankedRowFile,
    TokenRowFile,
    write_graded_rows,
    write_preference_rows,
    write_ranked_rows,
    write_token_rows,
)
from trimtab.training.run import Run
from trimtab.types import Comparison, Demonstration, Grade, Prompt, Ranking

Judged = TypeVar("Judged", Comparison, Ranking, Grade)

_AT_ONCE = 256  # rows tokenised together, which is faster than one by one
_SECONDS_OF_SILENCE = 1.0  # work that is done sooner says nothing of its progress


def demonstration_rows(
    demonstrations: Iterable[Demonstration], template: ChatTemplate, *, max_length: int, run: Run
) -> TokenRowFile:
    """One row a demonstration, in the run's state folder; rows that are there already are taken as they are.

    Raises `DataError` for one longer than `max_length` tokens.
    """
    folder = run.state / "demonstrations"
    if not folder.is_dir():
        write_token_rows(folder, _demonstration_rows(demonstrations, template, max_length))
    return TokenRowFile(folder)


def preference_rows(
    comparisons: Iterable[Comparison], template: ChatTemplate, *, max_length: int, run: Run
) -> PreferenceRowFile:
    """One row a prompt, in the order in which prompts appear, in the run's state folder; taken as they are if there.

    Raises `DataError` for a row that is too long, and `Interrupted`.
    """
    folder = run.state / "comparisons"
    if not folder.is_dir():
        write_preference_rows(folder, _preference_rows(_by_prompt(comparisons, run), template, max_length, run))
    return PreferenceRowFile(folder)


def ranked_rows(rankings: Iterable[Ranking], template: ChatTemplate, *, max_length: int, run: Run) -> RankedRowFile:
    """One row a prompt with all of its rankings, as `preference_rows` has them.

    Raises `DataError` for a row that is too long or has more responses tied above others than can be learnt from, and
    `Interrupted`.
    """
    folder = run.state / "rankings"
    if not folder.is_dir():
        write_ranked_rows(folder, _ranked_rows(_by_prompt(rankings, run), template, max_length, run))
    return RankedRowFile(folder)


def graded_rows(grades: Iterable[Grade], template: ChatTemplate, *, max_length: int, run: Run) -> GradedRowFile:
    """One row a prompt with all grades of its responses, as `preference_rows` has them.

    Raises `DataError` for a row that is too long, and `Interrupted`.
    """
    folder = run.state / "grades"
    if not folder.is_dir():
        write_graded_rows(folder, _graded_rows(_by_prompt(grades, run), template, max_length, run))
    return GradedRowFile(folder)


def check_prompts(prompts: Sequence[Prompt], template: ChatTemplate, *, max_length: int, run: Run) -> None:
    """Raise `DataError` for a prompt that leaves no room for the longest response; may raise `Interrupted`."""
    tell, done = _teller(run, "measuring the prompts"), 0
    for chunk in chunks(prompts, _AT_ONCE):
        for number, ids in enumerate(template.encode_prompts(chunk), start=done + 1):
            if len(ids) > max_length:
                raise DataError(
                    f"prompt {number} has {len(ids)} tokens, and before the longest response there is room for "
                    f"{max_length}. Lower max_new_tokens, raise max_length if the model reads further, or take the "
                    "prompt out of the data"
                )
        done += len(chunk)
        tell(done, len(prompts))


def watching(run: Run, what: str) -> Watch:
    """Tell a run how much of a source has been read. Raises `Interrupted` when the user asked to stop."""
    tell = _teller(run, what, unit=", per cent")
    return lambda share: tell(round(100 * share), 100)


def _teller(run: Run, what: str, unit: str = "") -> Callable[[int, int], None]:
    """A function that tells how much is done of how much, once the work has taken a while."""
    began = time.monotonic()

    def tell(done: int, total: int) -> None:
        if run.stop_requested():
            raise Interrupted(f"stopped while {what}")
        if time.monotonic() - began > _SECONDS_OF_SILENCE:
            run.progress(what + unit, done, total)

    return tell


def _demonstration_rows(
    demonstrations: Iterable[Demonstration], template: ChatTemplate, max_length: int
) -> Iterator[TokenRow]:
    numbers = count(1)
    for chunk in chunks(demonstrations, _AT_ONCE):
        prompts = template.encode_prompts([one.prompt for one in chunk])
        responses = template.encode_responses([one.response for one in chunk])
        for prompt, response in zip(prompts, responses, strict=True):
            row = TokenRow(tuple(prompt), (tuple(response),))
            _check_length(row, max_length, f"demonstration {next(numbers)}")
            yield row


def _by_prompt(judged: Iterable[Judged], run: Run) -> Groups[Judged]:
    bare = (replace(one, prompt=Prompt(one.prompt.messages)) for one in judged)
    return Groups(bare, key=lambda one: one.prompt, folder=run.state)


def _preference_rows(
    groups: Groups[Comparison], template: ChatTemplate, max_length: int, run: Run
) -> Iterator[PreferenceRow]:
    rows = _rows_of_prompts(
        groups, lambda one: (one.chosen, one.rejected), template, max_length, run, "comparisons", "compared"
    )
    for group, row, places in rows:
        pairs = tuple(Pair(places[one.chosen], places[one.rejected], one.probability, one.margin) for one in group)
        yield PreferenceRow(row, pairs)


def _ranked_rows(groups: Groups[Ranking], template: ChatTemplate, max_length: int, run: Run) -> Iterator[RankedRow]:
    rows = _rows_of_prompts(groups, lambda one: one.responses, template, max_length, run, "rankings", "ranked")
    for number, (group, row, places) in enumerate(rows, start=1):
        for one in group:
            _check_ties(one, f"ranked prompt {number}")
        yield RankedRow(
            row,
            tuple(
                Placed(ranking, places[one.responses[index]], rank)
                for ranking, one in enumerate(group)
                for rank, tier in enumerate(one.tiers)
                for index in tier
            ),
        )


def _graded_rows(groups: Groups[Grade], template: ChatTemplate, max_length: int, run: Run) -> Iterator[GradedRow]:
    rows = _rows_of_prompts(groups, lambda one: (one.response,), template, max_length, run, "grades", "graded")
    for group, row, places in rows:
        yield GradedRow(row, tuple(Graded(places[one.response], one.score) for one in group))


def _rows_of_prompts(
    groups: Groups[Judged],
    responses_of: Callable[[Judged], Sequence[str]],
    template: ChatTemplate,
    max_length: int,
    run: Run,
    what: str,
    judged: str,
) -> Iterator[tuple[list[Judged], TokenRow, dict[str, int]]]:
    """What was said of a prompt's responses, the prompt with its distinct responses, and the place of each."""
    tell, done = _teller(run, f"tokenising the {what}"), 0
    for chunk in chunks(groups, _AT_ONCE):
        texts = [list(dict.fromkeys(text for one in group for text in responses_of(one))) for group in chunk]
        prompts = template.encode_prompts([group[0].prompt for group in chunk])
        responses = iter(template.encode_responses([text for several in texts for text in several]))
        for group, several, prompt in zip(chunk, texts, prompts, strict=True):
            done += 1
            row = TokenRow(tuple(prompt), tuple(tuple(next(responses)) for _ in several))
            _check_length(row, max_length, f"{judged} prompt {done}")
            yield group, row, {text: place for place, text in enumerate(several)}
        tell(done, len(groups))


def _check_ties(ranking: Ranking, what: str) -> None:
    most = max((len(tier) for tier in ranking.tiers[:-1]), default=0)
    if most > MOST_TIED:
        raise DataError(
            f"{what} has {most} responses tied above others; ranking_loss: plackett_luce takes up to {MOST_TIED}. "
            "ranking_loss: pairs takes any number"
        )


def _check_length(row: TokenRow, max_length: int, what: str) -> None:
    """A conversation cut in the middle teaches a model never to stop, so nothing is cut silently."""
    longest = len(row.prompt_ids) + max(map(len, row.responses))
    if longest > max_length:
        raise DataError(
            f"{what} has {longest} tokens with its longest response; max_length is {max_length}. "
            "Raise max_length, or take the row out of the data"
        )
