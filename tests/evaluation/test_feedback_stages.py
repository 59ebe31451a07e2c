"""What a report says of the stages in which a model takes people's place."""

from __future__ import annotations

from typing import Any

from trimtab.evaluation.report.build import _not_tested
from trimtab.evaluation.report.narrative import here
from trimtab.evaluation.report.records import StageRecord
from trimtab.evaluation.report.texts import SAFETY_IN_PART, SAFETY_NOT_TESTED
from trimtab.evaluation.statistics import proportion


def record(kind: str, summary: dict[str, Any], **config: Any) -> StageRecord:
    return StageRecord("stage", kind, config, summary, 1.0, ())


def judged(right: int, n: int) -> str:
    trusted = {"accuracy": proportion(right, n).to_json()}
    return here(record("judge", {"pairs": 10, "comparisons": 9, "trusted": trusted}, judge="small"))


def test_a_judge_is_told_with_how_good_it_is() -> None:
    good = judged(90, 100)
    assert good.startswith(
        "small compared 10 pairs of answers and decided 9. On choices that are known it is right in 90 %"
    )
    assert "no better than guessing" not in good
    assert judged(52, 100).endswith("That is no better than guessing.")
    unknown = here(record("judge", {"pairs": 1, "comparisons": 1}, judge=None, endpoint={"model": "big"}))
    assert unknown == "big compared 1 pair of answers and decided 1. How good this judge is, nobody measured."


def test_revisions_are_told_with_what_was_dropped() -> None:
    summary = {"prompts": 10, "rounds": 2, "revisions": 12, "dropped": {"empty": 2, "off topic": 6}, "helpful": 5}
    assert here(record("revise", summary)) == (
        "It answered 10 requests and revised each answer twice. Of 20 revisions 12 were kept; dropped: off topic 6, "
        "empty 2. 5 answers to harmless requests were mixed in."
    )


def test_what_was_tested_of_safety_is_not_said_to_be_untested() -> None:
    assert SAFETY_NOT_TESTED in _not_tested({"groups": {"all": 3}})
    tested = _not_tested({"groups": {"all": 3, "red_team": 2}})
    assert SAFETY_NOT_TESTED not in tested
    assert SAFETY_IN_PART in tested
