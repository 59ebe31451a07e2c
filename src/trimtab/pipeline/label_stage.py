"""The stage of human feedback: a policy writes, people compare in their browsers, the run goes on when enough have."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

from trimtab.config import LabelStage
from trimtab.data.formats import read_prompts
from trimtab.errors import Interrupted
from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.labelling.aggregating import aggregation
from trimtab.labelling.expected import can_vote, votes_expected
from trimtab.labelling.exporting import Summary, write_comparisons, write_rankings
from trimtab.labelling.records import Item, Kind, LabelledItem, Turn
from trimtab.labelling.settings import DATABASE, Settings
from trimtab.labelling.store import Store
from trimtab.pipeline.artifacts import DATA
from trimtab.pipeline.context import Context
from trimtab.pipeline.disk import replace_text
from trimtab.pipeline.reading import read_data
from trimtab.pipeline.resolve import Inputs, load_writer, source
from trimtab.seeds import mix
from trimtab.training.batches import permutation
from trimtab.training.encoding import watching
from trimtab.types import Completion, Prompt

QUEUE = "queue.json"


def run_label(config: LabelStage, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Have people compare or rank a policy's answers. Writes what they say; raises `Interrupted` until that is enough.

    What was written is kept with the stage's state, so people go on with the same answers however often it is run.
    """
    items = _queue(config, inputs, context)
    folder = (context.recipe.parent / config.project).resolve()
    store = _project(folder, config, context)
    store.add_items(items)
    asked = {item.key for item in items}
    labelled = [entry for entry in store.labelled_items() if entry.item.key in asked]
    of_item = votes_expected(store)
    wanted = sum(of_item[key] for key in asked)
    given = sum(min(len(entry.labels), of_item[entry.item.key]) for entry in labelled)
    context.progress("labels", given, wanted)
    if given < config.enough * wanted:
        raise Interrupted(_what_to_do(given, wanted, folder, store))
    written = _write_labels(labelled, store, config, context.folder / DATA)
    return {"items": len(items), "votes": given, "people": _count_people(labelled), "written": written}


def _write_labels(labelled: list[LabelledItem], store: Store, config: LabelStage, path: Path) -> Summary:
    """Rankings as they are, and comparisons with votes put together as the recipe says."""
    if config.group_size > 2:
        return write_rankings(labelled, path)
    by = aggregation(config.aggregate, groups=store.groups(config.group) if config.group else None)
    # Who is of which group follows from votes and a probability that weighs groups.
    name_votes = config.group is None
    return write_comparisons(labelled, path, aggregate=by, margins=config.margins, name_votes=name_votes)


def _queue(config: LabelStage, inputs: Inputs, context: Context) -> list[Item]:
    """What people are to compare: written once, then read again."""
    kept = context.state / QUEUE
    if kept.exists():
        return [Item.model_validate(record) for record in json.loads(kept.read_text(encoding="utf-8"))]
    watch = watching(context, "reading the prompts")
    prompts = list(read_data(read_prompts, config, inputs, watch))
    drawn = permutation(len(prompts), context.seed)[: config.num_prompts]
    groups = _write([prompts[i] for i in sorted(drawn)], config, inputs, context)
    kind: Kind = "compare" if config.group_size == 2 else "rank"
    items = [
        Item(
            kind=kind,
            prompt=tuple(Turn(role=message.role, content=message.content) for message in group[0].prompt.messages),
            responses=texts,
            sources=(config.model,) * len(texts),
        )
        for group in groups
        if len(texts := tuple(dict.fromkeys(completion.text for completion in group))) == config.group_size
    ]
    replace_text(kept, json.dumps([item.model_dump(mode="json") for item in items]))
    return items


def _write(prompts: list[Prompt], config: LabelStage, inputs: Inputs, context: Context) -> list[list[Completion]]:
    """Answers to every prompt. Those to a prompt that are all alike cannot be compared and are left out later."""
    policy = load_writer(source(inputs, config.model), context.runtime, allow_remote_code=config.allow_remote_code)
    template = policy.template
    groups = complete(
        Engine.of(policy),
        template,
        prompts,
        group_size=config.group_size,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=mix(context.seed, 1),
        on_progress=lambda done, total: context.progress("writing answers", done, total),
    )
    del policy
    gc.collect()  # a model holds itself in cycles, and people take their time
    return groups


def _project(folder: Path, config: LabelStage, context: Context) -> Store:
    if (folder / DATABASE).exists():
        return Store.open(folder)
    return Store.create(folder, Settings(title=context.title or "Which answer is better?", overlap=config.overlap))


def _what_to_do(given: int, wanted: int, folder: Path, store: Store) -> str:
    invite = "" if can_vote(store) else " --annotators ann,bo"
    return (
        f"waiting for people: {given:,} of {wanted:,} votes are in. Let them label with: trimtab label {folder}{invite}"
    )


def _count_people(labelled: list[LabelledItem]) -> int:
    return len({label.annotator for entry in labelled for label in entry.labels})
