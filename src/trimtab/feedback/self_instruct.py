"""New tasks from a few: Self-Instruct (Wang et al., 2022, arXiv 2212.10560, section 2.2).

    1. new instructions, each asked for with eight examples: six by people, two by the model once there are some
    2. is it a classification?
    3. instances: input and then output; for a classification the label first, or one label would crowd out the others
    4. filters (`trimtab.data.filters`), and ROUGE-L against every instruction so far

The paper continued numbered lists with a base model. Here the examples are turns of a conversation, one new task or
instance is asked for in each, and chat models with small memories answer usably too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from trimtab.data.decontamination import HeldOut
from trimtab.data.filters import ALIKE, filter_instances, instruction_problem
from trimtab.data.rouge import Nearest
from trimtab.data.seed_tasks import Instance, Task
from trimtab.feedback.language_model import Progress, Writer
from trimtab.seeds import mix
from trimtab.types import Completion, Demonstration, Message, Prompt

PROMPT_VERSION = "1"
"""Raise it with any change of the words below: rows say which words they were asked for with."""
_NEW_TASK = "Write a new task."
_TASKS = (
    "You come up with many different tasks that can be done in writing. Write the instruction of one task at a time."
)
_IS_CLASSIFICATION = "Is the task a classification, with a few labels to choose from? Answer Yes or No."
_INSTANCE = "Give an example input of the task, or None where it needs no input, and then the right output."
_LABELLED = (
    "Choose one of the labels that the task can have as its answer, and then give an input that gets this label."
)
_INPUT, _OUTPUT, _LABEL = "Input:", "Output:", "Class label:"
_ANY_HEADING = re.compile(rf"^({_INPUT}|{_OUTPUT}|{_LABEL})", re.MULTILINE)
_NOTHING = "None"
_CLASSIFICATION_EXAMPLES = 6  # of each sort; the paper had 12 that are and 19 that are not
_INSTANCE_EXAMPLES = 6
_YES_OR_NO_TOKENS = 4

CUT_OFF, NO_INSTRUCTION, LIKE_ANOTHER = "cut off", "no instruction", "like another instruction"
NO_INSTANCE, CUT_INSTANCE, LIKE_HELD_OUT = "no instance", "cut-off instance", "like held-out data"


@dataclass(frozen=True, slots=True)
class Asking:
    """How many tasks to ask for in a round and how. Lengths are in tokens."""

    tasks: int = 16
    human_examples: int = 6
    machine_examples: int = 2
    instances: int = 1
    instruction_tokens: int = 80
    instance_tokens: int = 160
    temperature: float = 0.7
    top_p: float = 0.5
    alike: float = ALIKE


@dataclass(frozen=True)
class Pool:
    """What rounds have come to. `instructions` are all that were new, also those no instance of which was usable.

    `asked` and `parsed` count instructions, `instances_asked` and `instances_parsed` instances; `dropped` says how many
    each filter dropped.
    """

    tasks: tuple[Task, ...] = ()
    instructions: tuple[str, ...] = ()
    rounds: int = 0
    asked: int = 0
    parsed: int = 0
    instances_asked: int = 0
    instances_parsed: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Draft:
    """An instruction that passed the filters, and what it was written after."""

    instruction: str
    parents: tuple[str, ...]
    nearest_seed: float
    is_classification: bool = False


def grow(
    model: Writer,
    seeds: Sequence[Task],
    pool: Pool,
    asking: Asking,
    held_out: HeldOut,
    *,
    seed: int,
    progress: Progress,
) -> Pool:
    """One more round. Its randomness is fixed by the seed and the number of the round."""
    number = pool.rounds + 1
    seed = mix(seed, number)
    dropped = Counter(pool.dropped)
    shown = [_examples(seeds, pool.tasks, asking, mix(seed, 1, place)) for place in range(asking.tasks)]
    asked = [_ask([(_NEW_TASK, one.instruction) for one in examples], _NEW_TASK, _TASKS) for examples in shown]
    progress("new instructions", 0, asking.tasks)
    answers = model.write(
        asked,
        max_new_tokens=asking.instruction_tokens,
        temperature=asking.temperature,
        top_p=asking.top_p,
        seed=mix(seed, 2),
    )
    drafts, parsed = _new_instructions([one for (one,) in answers], shown, seeds, pool, asking, dropped)
    drafts = _with_kinds(model, drafts, seeds, seed)
    progress("instances", 0, len(drafts))
    groups = model.write(
        [_instance_prompt(draft, seeds, mix(seed, 4, place)) for place, draft in enumerate(drafts)],
        group_size=asking.instances,
        max_new_tokens=asking.instance_tokens,
        temperature=asking.temperature,
        top_p=asking.top_p,
        seed=mix(seed, 5),
        on_progress=lambda done, total: progress("instances", done, total),
    )
    tasks, instances_parsed = _new_tasks(drafts, groups, held_out, number, dropped)
    return Pool(
        tasks=(*pool.tasks, *tasks),
        instructions=(*pool.instructions, *(draft.instruction for draft in drafts)),
        rounds=number,
        asked=pool.asked + asking.tasks,
        parsed=pool.parsed + parsed,
        instances_asked=pool.instances_asked + len(drafts) * asking.instances,
        instances_parsed=pool.instances_parsed + instances_parsed,
        dropped=dict(dropped),
    )


def _examples(seeds: Sequence[Task], made: Sequence[Task], asking: Asking, seed: int) -> list[Task]:
    """The tasks that a request shows, in random order."""
    random = Random(seed)
    machine = random.sample(made, min(asking.machine_examples, len(made)))
    human = random.sample(seeds, min(asking.human_examples + asking.machine_examples - len(machine), len(seeds)))
    return random.sample([*human, *machine], len(human) + len(machine))


def _ask(examples: Sequence[tuple[str, str]], question: str, system: str) -> Prompt:
    """A conversation in which these questions were answered so, and one is still to be."""
    turns = [turn for asked, answer in examples for turn in (Message("user", asked), Message("assistant", answer))]
    return Prompt((Message("system", system), *turns, Message("user", question)))


def _new_instructions(
    written: Sequence[Completion],
    shown: Sequence[Sequence[Task]],
    seeds: Sequence[Task],
    pool: Pool,
    asking: Asking,
    dropped: Counter[str],
) -> tuple[list[_Draft], int]:
    """The instructions that pass every filter, and how many completions had one. Counts what was dropped."""
    nearest_seeds = Nearest(one.instruction for one in seeds)
    nearest_made = Nearest(pool.instructions)
    drafts: list[_Draft] = []
    parsed = 0
    for completion, examples in zip(written, shown, strict=True):
        text = parse_instruction(completion.text)
        parsed += bool(text)
        if completion.finish_reason == "length":
            dropped[CUT_OFF] += 1
        elif not text:
            dropped[NO_INSTRUCTION] += 1
        elif problem := instruction_problem(text):
            dropped[problem] += 1
        else:
            match = nearest_seeds.find(text)
            score = match.score if match else 0.0
            if score > asking.alike or nearest_made.find(text, above=asking.alike):
                dropped[LIKE_ANOTHER] += 1
            else:
                nearest_made.add(text)
                drafts.append(_Draft(text, tuple(one.id for one in examples), score))
    return drafts, parsed


def parse_instruction(text: str) -> str:
    """The instruction in what a model wrote: its first paragraph on one line, without a number or a heading."""
    first = text.strip().split("\n\n")[0]
    return re.sub(r"^(task|new task|instruction)?\s*\d*\s*[.:)]\s+", "", " ".join(first.split()), flags=re.IGNORECASE)


def _with_kinds(model: Writer, drafts: Sequence[_Draft], seeds: Sequence[Task], seed: int) -> list[_Draft]:
    """The drafts, each marked as a classification or not by the model."""
    prompts = []
    for place, draft in enumerate(drafts):
        random = Random(mix(seed, 3, place))
        examples = [
            one
            for kind in (True, False)
            for one in _some(
                [task for task in seeds if task.is_classification is kind], _CLASSIFICATION_EXAMPLES, random
            )
        ]
        random.shuffle(examples)
        answered = [(_task(one.instruction), "Yes" if one.is_classification else "No") for one in examples]
        prompts.append(_ask(answered, _task(draft.instruction), _IS_CLASSIFICATION))
    answers = model.write(prompts, max_new_tokens=_YES_OR_NO_TOKENS, temperature=0.0)
    return [
        replace(draft, is_classification=answer.text.strip().casefold().startswith("yes"))
        for draft, (answer,) in zip(drafts, answers, strict=True)
    ]


def _some(tasks: Sequence[Task], number: int, random: Random) -> list[Task]:
    return random.sample(tasks, min(number, len(tasks)))


def _task(instruction: str) -> str:
    return f"Task: {instruction}"


def _instance_prompt(draft: _Draft, seeds: Sequence[Task], seed: int) -> Prompt:
    """A request for an instance, with examples from seeds of the same kind."""
    same_kind = [task for task in seeds if task.is_classification is draft.is_classification]
    examples = _some(same_kind, _INSTANCE_EXAMPLES, Random(seed))
    answered = [
        (_task(one.instruction), format_instance(one.instances[0], label_first=one.is_classification))
        for one in examples
    ]
    return _ask(answered, _task(draft.instruction), _LABELLED if draft.is_classification else _INSTANCE)


def format_instance(instance: Instance, *, label_first: bool) -> str:
    """An instance as a model is to write it."""
    given = f"{_INPUT} {instance.input or _NOTHING}"
    return f"{_LABEL} {instance.output}\n{given}" if label_first else f"{given}\n{_OUTPUT} {instance.output}"


def parse_instances(text: str, *, label_first: bool, cut_off: bool) -> tuple[list[Instance], int]:
    """The instances in what a model wrote, and how many were cut off: the last one, where the text does not end.

    One with a heading too many, such as a second output, is none.
    """
    first, second = (_LABEL, _INPUT) if label_first else (_INPUT, _OUTPUT)
    pattern = rf"^{first}(.*?)^{second}(.*?)(?=^{first}|\Z)"
    pairs = [(a.strip(), b.strip()) for a, b in re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)]
    missing = int(cut_off and bool(pairs))
    whole = [pair for pair in pairs[: len(pairs) - missing] if not any(map(_ANY_HEADING.search, pair))]
    return [Instance(_given(b), a) if label_first else Instance(_given(a), b) for a, b in whole], missing


def _given(text: str) -> str:
    return "" if text.rstrip(".").casefold() == _NOTHING.casefold() else text


def _new_tasks(
    drafts: Sequence[_Draft],
    groups: Sequence[Sequence[Completion]],
    held_out: HeldOut,
    number: int,
    dropped: Counter[str],
) -> tuple[list[Task], int]:
    """The drafts with their usable instances, and how many instances could be read. Counts what was dropped."""
    tasks = []
    parsed = 0
    for place, (draft, group) in enumerate(zip(drafts, groups, strict=True), start=1):
        found: list[Instance] = []
        for completion in group:
            is_cut = completion.finish_reason == "length"
            some, cut = parse_instances(completion.text, label_first=draft.is_classification, cut_off=is_cut)
            found += some
            dropped[CUT_INSTANCE] += cut
            dropped[NO_INSTANCE] += not some and not cut
        parsed += len(found)
        kept, reasons = filter_instances(found)
        clean = [one for one in kept if not held_out.find(demonstration(draft.instruction, one))]
        dropped.update(reasons)
        dropped[LIKE_HELD_OUT] += len(kept) - len(clean)
        if clean:
            tasks.append(
                Task(
                    id=f"new-{number}-{place}",
                    instruction=draft.instruction,
                    instances=tuple(clean),
                    is_classification=draft.is_classification,
                    round=number,
                    parents=draft.parents,
                    nearest_seed=draft.nearest_seed,
                )
            )
    return tasks, parsed


def demonstration(instruction: str, instance: Instance) -> Demonstration:
    """An instance as it is learnt from: the input stands below the instruction."""
    question = f"{instruction}\n\n{instance.input}" if instance.input else instruction
    return Demonstration(Prompt((Message("user", question),)), instance.output)
