"""`trimtab label`, and the stage of human feedback in a run: it waits for people and goes on with what they said."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.cli.world import CommandLine, write_tiny_recipe

from trimtab.labelling.records import Compared, Label, LabelledItem, Ranked
from trimtab.labelling.store import Store

WITH_PEOPLE = """\
title: Ask people
stages:
  sft: {model: model, data: demonstrations.jsonl, batch_size: 4, learning_rate: 1e-3, max_steps: 1}
  label: {model: sft, data: prompts.jsonl, project: desk, num_prompts: 5, max_new_tokens: 5, overlap: 2}
  reward_model: {model: sft, data: label, prompts_per_step: 2}
runtime: {threads: 1, precision: fp32}
"""


def write_pairs(path: Path, count: int = 3) -> Path:
    rows = [{"prompt": f"question {n}", "chosen": "yes", "rejected": "no"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_project_is_made_and_links_are_printed_once(trimtab: CommandLine, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    made = trimtab("label", "desk", "--data", pairs, "--annotators", "ann, bo", "--title", "Ferries", "--no-serve")
    assert made.code == 0
    assert "3 new items" in made.out
    assert "Ferries: 3 items, 0 of 6 votes" in made.out
    links = dict(re.findall(r"^(\w+): http://127.0.0.1:8321/in/(\S{22})$", made.out, re.MULTILINE))
    assert set(links) == {"lead", "ann", "bo"}
    assert len(set(links.values())) == 3
    again = trimtab("label", "desk", "--annotators", "cy", "--no-serve")
    assert re.findall(r"^(\w+): http", again.out, re.MULTILINE) == ["cy"]
    assert "Links given before still work: ann, bo" in again.out
    renewed = trimtab("label", "desk", "--new-links", "--url", "https://label.example/", "--no-serve")
    assert re.findall(r"^(\w+): https://label.example/in/", renewed.out, re.MULTILINE) == ["lead", "ann", "bo", "cy"]


def test_errors_say_what_to_do(trimtab: CommandLine, tmp_path: Path) -> None:
    absent = trimtab("label", "nowhere", "--no-serve")
    assert absent.code == 1
    assert "trimtab label nowhere --data comparisons.jsonl --annotators ann,bo" in absent.err
    trimtab("label", "desk", "--annotators", "ann", "--no-serve")
    unknown = trimtab("label", "desk", "--revoke", "zoe", "--no-serve")
    assert (unknown.code, "there is no annotator 'zoe'; there are: ann" in unknown.err) == (1, True)
    assert "the link has ended" in trimtab("label", "desk", "--revoke", "ann", "--no-serve").out


def links(trimtab: CommandLine, *options: object) -> list[str]:
    """Whom a project prints links for."""
    return re.findall(r"^(\w+): http", trimtab("label", "desk", *options, "--no-serve").out, re.MULTILINE)


def test_no_link_is_lost_where_serving_fails(trimtab: CommandLine, tmp_path: Path) -> None:
    invite = ("label", "desk", "--data", write_pairs(tmp_path / "pairs.jsonl"), "--annotators", "ann")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = trimtab(*invite, "--port", taken.getsockname()[1])
    assert (busy.code, "cannot be used" in busy.err) == (1, True)
    assert trimtab(*invite, "--port", 0, "--model", tmp_path / "absent").code == 1
    assert trimtab("label", "desk", "--annotators", f"ann, {'x' * 61}", "--no-serve").code == 1
    assert links(trimtab, "--annotators", "ann") == ["lead", "ann"]


def test_who_is_shut_out_stays_out_until_named_again(trimtab: CommandLine) -> None:
    trimtab("label", "desk", "--annotators", "ann, bo", "--no-serve")
    assert "Links given before still work: ann. " in trimtab("label", "desk", "--revoke", "bo", "--no-serve").out
    assert links(trimtab, "--new-links") == ["lead", "ann"]
    assert links(trimtab, "--annotators", "ann, bo") == ["bo"]
    assert links(trimtab, "--new-links") == ["lead", "ann", "bo"]
    trimtab("label", "desk", "--revoke", "lead", "--no-serve")
    assert links(trimtab, "--annotators", "lead") == ["lead"]
    assert Store.open(Path("desk")).annotators() == ["ann", "bo"]


def test_who_only_came_with_labels_has_a_link_once_named(trimtab: CommandLine, tmp_path: Path) -> None:
    trimtab("label", "desk", "--data", write_pairs(tmp_path / "pairs.jsonl"), "--no-serve")
    store = Store.open(tmp_path / "desk")
    item = next(store.labelled_items()).item
    store.add_labels([LabelledItem(item=item, labels=(Label(annotator="ann", answer=Compared(preference=1)),))])
    assert "Nobody has a link that works: --annotators ann,bo" in trimtab("label", "desk", "--no-serve").out
    assert links(trimtab, "--new-links") == ["lead"]
    assert links(trimtab, "--annotators", "ann") == ["ann"]


def test_it_serves(tmp_path: Path) -> None:
    """The real process: a link works, another does not, and Ctrl+C ends it in peace."""
    command = [sys.executable, "-m", "trimtab", "label", str(tmp_path / "desk"), "--port", "0", "--annotators", "ann"]
    server = subprocess.Popen(
        [*command, "--data", str(write_pairs(tmp_path / "pairs.jsonl"))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        link = next(line.split(" ", 1)[1].strip() for line in lines if line.startswith("ann: "))
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert "Which answer is better?" in opener.open(link, timeout=30).read().decode()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            opener.open(link[:-1], timeout=30)
    finally:
        server.terminate()
    assert server.wait(timeout=30) in (0, -15)


def test_a_run_waits_for_the_vote_that_settles_a_disagreement_if_there_is_somebody_to_give_it(
    trimtab: CommandLine, tmp_path: Path
) -> None:
    write_tiny_recipe(tmp_path)
    rows = [{"prompt": f"question {n}"} for n in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "people.yaml"
    recipe.write_text(WITH_PEOPLE)
    trimtab("run", recipe)
    trimtab("label", "desk", "--annotators", "ann, bo, cy", "--no-serve")
    store = Store.open(tmp_path / "desk")
    items = [entry.item for entry in store.labelled_items()]
    votes = [Label(annotator=name, answer=Compared(preference=way)) for name, way in (("ann", 1), ("bo", -1))]
    store.add_labels(LabelledItem(item=item, labels=tuple(votes)) for item in items)
    assert "10 of 15 votes are in" in trimtab("run", recipe).err
    store.add_labels(
        LabelledItem(item=item, labels=(Label(annotator="cy", answer=Compared(preference=1)),)) for item in items[1:]
    )
    assert "14 of 15 votes are in" in trimtab("run", recipe).err
    trimtab("label", "desk", "--revoke", "cy", "--no-serve")
    assert trimtab("run", recipe).code == 0


def test_rankings_reach_the_reward_model_as_rankings(trimtab: CommandLine, tmp_path: Path) -> None:
    """Three answers a prompt: people rank them, and the reward model can learn place by place."""
    write_tiny_recipe(tmp_path)
    rows = [{"prompt": f"question {n}"} for n in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "people.yaml"
    text = WITH_PEOPLE.replace("overlap: 2", "group_size: 3").replace("data: label,", "data: label, RANKED,")
    recipe.write_text(text.replace("RANKED", "ranking_loss: plackett_luce"))
    assert trimtab("run", recipe).code == 130
    store = Store.open(tmp_path / "desk")
    label = Label(annotator="ann", answer=Ranked(tiers=((2,), (0, 1))))
    store.add_labels(LabelledItem(item=entry.item, labels=(label,)) for entry in store.labelled_items())
    assert trimtab("run", recipe).code == 0
    (rankings,) = tmp_path.glob("runs/people/label-*/data.jsonl")
    assert {str(json.loads(line)["ranking"]) for line in rankings.read_text().splitlines()} == {"[2, [0, 1]]"}


def test_a_run_waits_for_people_and_goes_on_with_what_they_said(trimtab: CommandLine, tmp_path: Path) -> None:
    write_tiny_recipe(tmp_path)
    rows = [{"prompt": f"question {n}"} for n in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "people.yaml"
    recipe.write_text(WITH_PEOPLE)

    waiting = trimtab("run", recipe)
    assert waiting.code == 130
    assert "label: waiting for people: 0 of 10 votes are in. Let them label with: trimtab label" in waiting.err
    store = Store.open(tmp_path / "desk")
    entries = list(store.labelled_items())
    assert len(entries) == 5
    assert all(entry.item.responses[0] != entry.item.responses[1] for entry in entries)

    vote = {name: Label(annotator=name, answer=Compared(preference=1)) for name in ("ann", "bo")}
    store.add_labels(LabelledItem(item=entry.item, labels=(vote["ann"],)) for entry in entries)
    assert "5 of 10 votes" in trimtab("run", recipe).err
    assert len(list(Store.open(tmp_path / "desk").labelled_items())) == 5  # the same queue, not another one
    store.add_labels(LabelledItem(item=entry.item, labels=(vote["bo"],)) for entry in entries)
    done = trimtab("run", recipe)
    assert done.code == 0
    (comparisons,) = tmp_path.glob("runs/people/label-*/data.jsonl")
    assert len(comparisons.read_text().splitlines()) == 5
    assert list(tmp_path.glob("runs/people/reward_model-*/artifact.json"))


def test_a_recipe_says_how_votes_are_put_together(trimtab: CommandLine, tmp_path: Path) -> None:
    """Of three votes two are for the first answer, one of them by far: 1 by majority, with a third of a lead."""
    write_tiny_recipe(tmp_path)
    rows = [{"prompt": f"question {n}"} for n in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "people.yaml"
    recipe.write_text(WITH_PEOPLE.replace("overlap: 2", "overlap: 3, aggregate: majority, margins: true"))
    assert trimtab("run", recipe).code == 130
    store = Store.open(tmp_path / "desk")
    votes = [
        Label(annotator=name, answer=Compared(preference=way)) for name, way in zip("abc", (2, 1, -1), strict=True)
    ]
    store.add_labels(LabelledItem(item=entry.item, labels=tuple(votes)) for entry in store.labelled_items())
    assert trimtab("run", recipe).code == 0
    (comparisons,) = tmp_path.glob("runs/people/label-*/data.jsonl")
    rows = [json.loads(line) for line in comparisons.read_text().splitlines()]
    assert {row["probability"] for row in rows} == {1.0}
    assert {round(row["margin"], 4) for row in rows} == {0.3333}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("aggregate: balanced", "go together"),
        ("group: region", "go together"),
        ("group_size: 3, margins: true", "rankings are learnt from as they are"),
    ],
)
def test_ways_of_aggregation_that_do_not_fit_are_errors(
    trimtab: CommandLine, tmp_path: Path, settings: str, problem: str
) -> None:
    write_tiny_recipe(tmp_path)
    recipe = tmp_path / "people.yaml"
    recipe.write_text(WITH_PEOPLE.replace("overlap: 2", settings))
    assert problem in " ".join(trimtab("plan", recipe).err.split())
