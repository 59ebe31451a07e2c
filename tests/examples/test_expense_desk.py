"""The bundled data: as built, large enough, and with nothing on both sides."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from trimtab.data.formats import read_comparisons, read_demonstrations, read_prompts
from trimtab.data.splits import assert_disjoint
from trimtab.evaluation.tasks.reward_accuracy import annotator_agreement
from trimtab.evaluation.tasks.truth_checks import score_response, truth_task

DESK = Path(__file__).parents[2] / "examples" / "expense_desk"
TRAINED_ON = ("demonstrations", "prompts.train", "comparisons.train")
HELD_OUT = ("prompts.heldout", "comparisons.heldout")
READ = {"demonstrations": read_demonstrations, "prompts": read_prompts, "comparisons": read_comparisons}


def records(name: str) -> list:
    return list(READ[name.partition(".")[0]](str(DESK / f"{name}.jsonl")))


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DESK / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_files_are_what_the_pools_give() -> None:
    checked = subprocess.run([sys.executable, DESK / "build.py", "--check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_there_is_enough_of_everything() -> None:
    assert len(records("demonstrations")) == 350
    assert Counter(row["kind"] for row in rows("prompts.train")) == {"memo": 400, "question": 80}
    assert len(records("comparisons.train")) == 753
    assert Counter(row["kind"] for row in rows("prompts.heldout")) == {"memo": 80, "question": 24}
    assert len(records("comparisons.heldout")) == 128


@pytest.mark.parametrize(("trained_on", "held_out"), [*itertools.product(TRAINED_ON, HELD_OUT)])
def test_no_prompt_crosses(trained_on: str, held_out: str) -> None:
    assert_disjoint(records(trained_on), records(held_out))


def test_held_out_merchants_are_named_nowhere_else() -> None:
    merchants = {r["truth"]["merchant"]["line"].removeprefix("Merchant: ") for r in rows("prompts.heldout")[:80]}
    assert len(merchants) > 20
    for name in TRAINED_ON:
        text = (DESK / f"{name}.jsonl").read_text(encoding="utf-8")
        assert [merchant for merchant in merchants if merchant in text] == []


def test_every_prompt_for_practice_has_checks_that_a_right_memo_passes() -> None:
    """A memo put together here from the truth's own lines passes; with another sum it does not."""
    task = truth_task(records("prompts.train"))
    for sample, row in zip(task.samples[:400], rows("prompts.train")[:400], strict=True):
        memo = "\n".join(row["truth"][name]["line"] for name in ("category", "amount", "merchant")) + "\nPurpose: It."
        assert score_response(sample, memo).passed
        assert not score_response(sample, re.sub(r"Amount: \d", "Amount: 77", memo)).passed


def test_demonstrated_memos_say_what_their_line_item_says() -> None:
    for one in records("demonstrations"):
        text = one.prompt.messages[0].content
        if "Category:" not in one.response:
            continue
        for field in ("Amount", "Merchant"):
            (value,) = re.findall(rf"^{field}: (.+)$", one.response, re.MULTILINE)
            assert value in text


@pytest.mark.parametrize(("name", "shared"), [("comparisons.train", 135), ("comparisons.heldout", 45)])
def test_votes_are_by_named_annotators(name: str, shared: int) -> None:
    votes = [row["votes"] for row in rows(name)]
    assert Counter(map(len, votes)) == {1: len(votes) - shared, 3: shared}
    assert {vote["annotator"] for one in votes for vote in one} == {"annotator-1", "annotator-2", "annotator-3"}
    assert {row["instructions_version"] for row in rows(name)} <= {"1", "2"}


def test_the_readme_tells_the_true_agreement() -> None:
    pairs = records("comparisons.train") + records("comparisons.heldout")
    shared = [one.votes for one in pairs if len(one.votes) == 3]
    alike = sum(len({*votes}) == 1 for votes in shared)
    found = annotator_agreement(pairs)
    assert found is not None
    text = " ".join((DESK / "README.md").read_text(encoding="utf-8").split())
    assert f"On {alike} of the {len(shared)} shared pairs all three voted alike" in text
    interval = f"{100 * found.low:.0f} to {100 * found.high:.0f}, n = {found.n} pairs"
    assert f"agree {100 * found.value:.0f} % of the time (95 % interval {interval})" in text
