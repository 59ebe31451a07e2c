"""What a judge goes by, from files: instructions as text, questions from a constitution."""

from __future__ import annotations

from pathlib import Path

from trimtab.errors import DataError
from trimtab.feedback.constitution import read_constitution
from trimtab.feedback.judge import Instructions

PLAIN_QUESTION = (("better", "Which answer is better?"),)


def read_instructions(text: str | None, constitution: str | None) -> Instructions:
    """What a judge is told, from a text file, and the questions it is asked, from a constitution.

    Raises `DataError` for a file that cannot be read.
    """
    try:
        said = "" if text is None else Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DataError(f"the instructions in {text} cannot be read: {reason}. Name a text file") from error
    questions: tuple[tuple[str, str], ...] = PLAIN_QUESTION
    if constitution:
        principles = read_constitution(Path(constitution)).principles
        questions = tuple((principle.id, principle.comparison) for principle in principles)
    return Instructions(said, questions)
