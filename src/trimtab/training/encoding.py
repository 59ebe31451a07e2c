"""Text records to token rows on the disk: the one place where training data is tokenised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from trimtab.data.chat import ChatTemplate
from trimtab.data.files import Watch
from trimtab.data.on_disk import Groups, chunks
from trimtab.errors import DataError, Interrupted
from trimtab.models.rows import TokenRow
from trimtab.training.row_files import (
    Pair,
    PreferenceRow,
    PreferenceRowFile,
    TokenRowFile,
    write_preference_rows,
    write_token_rows,
)
from trimtab.training.run import Run
from trimtab.types import Comparison, Demonstration, Prompt

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
        bare = (replace(one, prompt=Prompt(one.prompt.messages)) for one in comparisons)
        groups = Groups(bare, key=lambda comparison: comparison.prompt, folder=run.state)
        write_preference_rows(folder, _preference_rows(groups, template, max_length, run))
    return PreferenceRowFile(folder)


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


def _preference_rows(
    groups: Groups[Comparison], template: ChatTemplate, max_length: int, run: Run
) -> Iterator[PreferenceRow]:
    tell, done = _teller(run, "tokenising the comparisons"), 0
    for chunk in chunks(groups, _AT_ONCE):
        texts = [list(dict.fromkeys(text for one in group for text in (one.chosen, one.rejected))) for group in chunk]
        prompts = template.encode_prompts([group[0].prompt for group in chunk])
        responses = iter(template.encode_responses([text for several in texts for text in several]))
        for group, several, prompt in zip(chunk, texts, prompts, strict=True):
            done += 1
            row = TokenRow(tuple(prompt), tuple(tuple(next(responses)) for _ in several))
            _check_length(row, max_length, f"compared prompt {done}")
            places = {text: place for place, text in enumerate(several)}
            pairs = tuple(Pair(places[one.chosen], places[one.rejected], one.probability, one.margin) for one in group)
            yield PreferenceRow(row, pairs)
        tell(done, len(groups))


def _check_length(row: TokenRow, max_length: int, what: str) -> None:
    """A conversation cut in the middle teaches a model never to stop, so nothing is cut silently."""
    longest = len(row.prompt_ids) + max(map(len, row.responses))
    if longest > max_length:
        raise DataError(
            f"{what} has {longest} tokens with its longest response; max_length is {max_length}. "
            "Raise max_length, or take the row out of the data"
        )
