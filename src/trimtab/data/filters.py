"""What is not worth learning from in machine-made tasks: the filters of Self-Instruct, each a function with a name.

They are those of the paper (arXiv 2212.10560, section 2.2 and appendix A.2) and of the code published with it
(yizhongw/self-instruct: bootstrap_instructions.py, prepare_for_finetuning.py). True means: drop it.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from trimtab.data.rouge import rouge_l
from trimtab.data.seed_tasks import Instance

FEWEST_WORDS, MOST_WORDS = 4, 150
ALIKE = 0.7
"""ROUGE-L F above which an instruction is another one again."""
REPEATED = 0.9
"""ROUGE-L F above which an instance is another of the same task again; the paper drops equal ones alone."""
_BEYOND_TEXT = re.compile(r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)


def is_short(instruction: str) -> bool:
    """Three words or fewer."""
    return len(instruction.split()) < FEWEST_WORDS


def is_long(instruction: str) -> bool:
    """More than 150 words."""
    return len(instruction.split()) > MOST_WORDS


def is_beyond_text(instruction: str) -> bool:
    """Speaks of pictures, files or places, which a language model has not."""
    return _BEYOND_TEXT.search(instruction) is not None


def asks_for_program(instruction: str) -> bool:
    """Starts with "Write a program", of which models write far too many."""
    return instruction.startswith("Write a program")


def starts_oddly(instruction: str) -> bool:
    """Starts with punctuation, or with a character that English has not."""
    return instruction[:1] in string.punctuation or not instruction[:1].isascii()


INSTRUCTION_FILTERS: Mapping[str, Callable[[str], bool]] = {
    "three words or fewer": is_short,
    "more than 150 words": is_long,
    "beyond text": is_beyond_text,
    "write a program": asks_for_program,
    "odd start": starts_oddly,
}


def instruction_problem(instruction: str) -> str | None:
    """The name of the first filter that drops an instruction."""
    return next((name for name, drops in INSTRUCTION_FILTERS.items() if drops(instruction)), None)


def is_empty(instance: Instance) -> bool:
    """There is no output."""
    return not instance.output.strip()


def copies_input(instance: Instance) -> bool:
    """The output is the input."""
    return instance.output.strip() == instance.input.strip()


def stops_at_colon(instance: Instance) -> bool:
    """Input or output ends where something was to follow."""
    return instance.input.rstrip().endswith(":") or instance.output.rstrip().endswith(":")


INSTANCE_FILTERS: Mapping[str, Callable[[Instance], bool]] = {
    "empty output": is_empty,
    "output is the input": copies_input,
    "ends with a colon": stops_at_colon,
}
CONTRADICTS, REPEATS = "same input, different outputs", "repeated instance"


def has_contradiction(instances: Sequence[Instance]) -> bool:
    """Whether an input that is not empty comes with different outputs: then none of the task's can be trusted."""
    outputs: dict[str, str] = {}
    return any(one.input and outputs.setdefault(one.input, one.output) != one.output for one in instances)


def filter_instances(instances: Sequence[Instance]) -> tuple[list[Instance], Counter[str]]:
    """A task's instances that are worth learning from, and how many each filter dropped."""
    dropped: Counter[str] = Counter()
    sound: list[Instance] = []
    for one in instances:
        problem = next((name for name, drops in INSTANCE_FILTERS.items() if drops(one)), None)
        if problem is None:
            sound.append(one)
        else:
            dropped[problem] += 1
    if has_contradiction(sound):
        dropped[CONTRADICTS] += len(sound)
        return [], dropped
    kept: list[Instance] = []
    for one in sound:
        if any(_repeats(one, other) for other in kept):
            dropped[REPEATS] += 1
        else:
            kept.append(one)
    return kept, dropped


def _repeats(one: Instance, other: Instance) -> bool:
    """Whether two instances ask the same, or are nearly the same words."""
    if one.input == other.input:
        return True
    return rouge_l(f"{one.input}\n{one.output}", f"{other.input}\n{other.output}") > REPEATED
