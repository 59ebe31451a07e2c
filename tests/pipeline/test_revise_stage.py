from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.feedback.world import PRINCIPLES, write_constitution, write_examples
from tests.training.world import tiny_policy

from trimtab.config import load_recipe
from trimtab.config.load import Recipe
from trimtab.errors import Interrupted
from trimtab.generation.local import LocalModel
from trimtab.pipeline import revise_stage
from trimtab.pipeline.runner import run
from trimtab.types import Completion, Message, Prompt

RECIPE = """\
seed: 5
stages:
  judge: {kind: reward_model, model: model, data: comparisons.jsonl, prompts_per_step: 4}
  revisions:
    {kind: revise, model: model, data: red.jsonl, constitution: constitution.yaml, examples: examples.yaml, rounds: 2,
     scorer: judge, helpful: [helpful.jsonl], helpful_answers: 3, helpful_request: Be brief., num_prompts: 5,
     max_new_tokens: 6}
  sft: {model: model, data: [revisions, demonstrations.jsonl], batch_size: 4, max_steps: 2}
runtime: {threads: 1, precision: fp32}
"""


LETTERS = "Lift the flap of the letterbox with a wire until the letters come out."
ASK = "A letterbox belongs to somebody, so ask them for their key in the morning."
WAIT = "Wait for the owner of the letterbox, who has a key to it."
KEYS = "Press the door key into soap, and pour wax into the form."
HARSH = "That door key is not yours."
SUMS = "Multiply the sum by two before the taxes."
DRAFTS = {"How do I open a letterbox?": LETTERS, "How do I copy a door key?": KEYS, "How are sums hidden?": SUMS}
ECHO = PRINCIPLES[0]["revision"]
SUMS_ECHO = f"{ECHO} Sums."
SHOWN = "Sums are there to be seen."
REVISIONS = {  # of each answer, with what the scorer says of them
    LETTERS: {LETTERS.replace("wire", "bent wire"): 9.0, "The letterbox stays closed.": 2.7, ASK: 3.0},
    ASK: {ASK.replace("key", "own key"): 9.0, f"{ECHO} A letterbox.": 9.0, WAIT: 2.6},
    KEYS: {KEYS: 9.0, "Leave that door key alone.": 0.5, HARSH: 1.0},
    HARSH: {HARSH.replace(".", "!"): 5.0, HARSH.replace("not", "NOT"): 5.0, HARSH.lower(): 5.0},
    SUMS: {SUMS_ECHO: 9.0, SUMS: 2.0, "": 0.0},
    SUMS_ECHO: {"": 9.0, "Sums stay in sight.": 2.1, SHOWN: 2.2},
}
SCORES = dict.fromkeys(DRAFTS.values(), 2.0) | {
    text: score for scored in REVISIONS.values() for text, score in scored.items() if text not in DRAFTS.values()
}


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def recipe(folder: Path) -> Recipe:
    tiny_policy(longest=2048).save(folder / "model")
    write_constitution(folder)
    write_examples(folder)
    pair = {"chosen": "Approved.", "rejected": "Refused."}
    write(folder / "comparisons.jsonl", [{"prompt": f"question {n}", **pair} for n in range(8)])
    write(folder / "red.jsonl", [{"prompt": f"question {n}", "id": f"red-{n}"} for n in range(9)])
    write(folder / "helpful.jsonl", [{"prompt": f"help {n}"} for n in range(4)])
    write(folder / "demonstrations.jsonl", [{"prompt": "question", "completion": "Approved."}] * 3)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE)
    return load_recipe(path)


def files(folder: Path) -> dict[str, str]:
    (made,) = folder.glob("store/revisions-*/artifact.json")
    return {name: (made.parent / name).read_text() for name in ("chains.jsonl", "data.jsonl")}


def test_chains_are_written_judged_and_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a random model's revisions are noise, so the filter's rules are tested on their own; here every other one passes
    verdicts = iter(["", "off topic"] * 5)
    monkeypatch.setattr(revise_stage, "verdict", lambda *_, **__: next(verdicts))
    loaded = recipe(tmp_path)
    asked: list[list[Prompt]] = []
    write_them = LocalModel.write
    monkeypatch.setattr(
        LocalModel, "write", lambda self, prompts, **how: asked.append(prompts) or write_them(self, prompts, **how)
    )
    run(loaded, tmp_path / "store")
    made = files(tmp_path)
    chains = [json.loads(line) for line in made["chains.jsonl"].splitlines()]
    assert len(chains) == 5
    assert all(len(chain["rounds"]) == 2 for chain in chains)
    assert all(isinstance(chain["draft_score"], float) for chain in chains)
    rows = [json.loads(line) for line in made["data.jsonl"].splitlines()]
    revisions = [row for row in rows if row["source"] == "revision"]
    assert [row["id"] for row in revisions] == [f"{chain['id']}/1" for chain in chains]
    assert [row["completion"][0]["content"] for row in revisions] == [
        chain["rounds"][0]["revision"]["text"] for chain in chains
    ]
    helpful = [row for row in rows if row["source"] == "helpful"]
    assert 0 < len(helpful) <= 4 * 3
    assert [prompt.messages[-1].content for prompt in asked[1]] == [f"help {n}\n\nBe brief." for n in range(4)]
    assert {row["prompt"][-1]["content"] for row in helpful} <= {f"help {n}" for n in range(4)}
    (artifact,) = tmp_path.glob("store/revisions-*/artifact.json")
    summary = json.loads(artifact.read_text())["summary"]
    assert (summary["prompts"], summary["revisions"], summary["dropped"]) == (5, 5, {"off topic": 5})
    assert summary["gain"]["n"] == 5
    (learnt,) = tmp_path.glob("store/sft-*/artifact.json")
    assert json.loads(learnt.read_text())["summary"]["demonstrations"] == len(rows) + 3


def written(self: LocalModel, prompts: Sequence[Prompt], *, group_size: int, **_: Any) -> list[list[Completion]]:
    """Drafts and critiques that are always the same, and the revisions of the answer that was criticised."""
    groups = []
    for prompt in prompts:
        texts = [DRAFTS.get(prompt.messages[-1].content, "It is rude.")] * group_size
        if prompt.messages[-1].content in {one["revision"] for one in PRINCIPLES}:
            question = prompt.messages[-3].content
            (texts,) = [list(found) for answer, found in REVISIONS.items() if f"answered:\n{answer}\n\n" in question]
        assert len(texts) == group_size
        groups.append([Completion(prompt, text, (), (), "stop") for text in texts])
    return groups


def test_the_best_of_those_that_pass_is_taken_and_must_beat_the_first_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalModel, "write", written)
    monkeypatch.setattr(
        revise_stage, "score_texts", lambda *given: [[SCORES[text] for text in texts] for _, texts in given[-1]]
    )
    path = recipe(tmp_path).path
    write(tmp_path / "red.jsonl", [{"prompt": prompt} for prompt in DRAFTS])
    run(load_recipe(path, ["revisions.num_revisions=3", "revisions.least_gain=0.5"]), tmp_path / "store")
    made = files(tmp_path)
    rounds = [json.loads(line)["rounds"] for line in made["chains.jsonl"].splitlines()]
    assert [[(one["revision"]["text"], one["score"], one["dropped"]) for one in chain] for chain in rounds] == [
        # what scores higher is the answer before, or what was asked; 2.6 is less than 3.0, and beats the draft's 2.0
        [(ASK, 3.0, ""), (WAIT, 2.6, "")],
        # none of the second three passes, as they are the revision before, though not the draft
        [(HARSH, 1.0, "scores no better"), (HARSH.replace(".", "!"), 5.0, "hardly changed")],
        # better than the first draft, and by too little
        [(SUMS_ECHO, 9.0, "talks of the task"), (SHOWN, 2.2, "scores no better")],
    ]
    rows = [json.loads(line) for line in made["data.jsonl"].splitlines()]
    assert [row["completion"][0]["content"] for row in rows if row["source"] == "revision"] == [ASK, WAIT]
    (artifact,) = tmp_path.glob("store/revisions-*/artifact.json")
    gain = json.loads(artifact.read_text())["summary"]["gain"]
    assert (gain["n"], gain["value"]) == (3, pytest.approx((0.6 + 3.0 + 0.2) / 3))


def test_going_on_after_a_stop_ends_where_an_unbroken_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revise_stage, "verdict", lambda *_, **__: "")
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    run(recipe(tmp_path / "whole"), tmp_path / "whole" / "store")
    broken = recipe(tmp_path / "broken")
    written = revise_stage.revise
    calls = []

    def stopping(*given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Interrupted("enough for today")
        return written(*given, **named)

    monkeypatch.setattr(revise_stage, "revise", stopping)
    with pytest.raises(Interrupted):
        run(broken, tmp_path / "broken" / "store")
    run(broken, tmp_path / "broken" / "store")
    assert len(calls) == 3  # the first round was not written twice
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


def test_the_report_links_a_page_with_every_chain(tmp_path: Path) -> None:
    recipe(tmp_path)
    write(
        tmp_path / "heldout.jsonl", [{"prompt": f"held out {n}", "truth": {"no": {"refuses": True}}} for n in range(3)]
    )
    path = tmp_path / "recipe.yaml"
    head, runtime = path.read_text().split("runtime:")
    stages = "  evaluation: {base: model, models: [sft], prompts: heldout.jsonl, max_new_tokens: 4, group_size: 0}\n"
    path.write_text(f"{head}{stages}  report: {{evaluation: evaluation}}\nruntime:{runtime}")
    run(load_recipe(path), tmp_path / "store")
    (report,) = tmp_path.glob("store/report-*/report.html")
    assert '<a href="revisions.html">' in report.read_text()
    page = (report.parent / "revisions.html").read_text()
    chains = [json.loads(line) for line in files(tmp_path)["chains.jsonl"].splitlines()]
    assert len(chains) == 5
    assert all(chain["id"] in page for chain in chains)
    assert "What is not kind about the answer?" in page
    assert "Criticising and revising itself" in report.read_text()


def test_a_model_writes_red_team_prompts_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = recipe(tmp_path)
    monkeypatch.setattr(
        revise_stage, "write_red_team", lambda *_, **__: [Prompt((Message("user", "one more"),), {"id": "w"})]
    )
    monkeypatch.setattr(revise_stage, "verdict", lambda *_, **__: "")
    run(load_recipe(loaded.path, ["revisions.written_prompts=1"]), tmp_path / "store")
    chains = [json.loads(line) for line in files(tmp_path)["chains.jsonl"].splitlines()]
    assert [chain["id"] for chain in chains][-1] == "w"
    assert len(chains) == 6
