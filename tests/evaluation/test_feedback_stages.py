"""What a report says of the stages in which a model takes people's place."""

from __future__ import annotations

from typing import Any

from trimtab.evaluation.report.build import _not_tested
from trimtab.evaluation.report.narrative import here
from trimtab.evaluation.report.records import StageRecord
from trimtab.evaluation.report.texts import SAFETY_IN_PART, SAFETY_NOT_TESTED
from trimtab.evaluation.statistics import mean, proportion


def record(kind: str, summary: dict[str, Any], **config: Any) -> StageRecord:
    return StageRecord("stage", kind, config, summary, 1.0, ())


def judged(right: int, n: int, **more: Any) -> str:
    trusted = {
        "comparisons": 2 * n,
        "decided": proportion(n, 2 * n).to_json(),
        "accuracy": proportion(right, n).to_json(),
    }
    return here(record("judge", {"pairs": 10, "comparisons": 9, "trusted": trusted, **more}, judge="small"))


def test_a_judge_is_told_with_how_good_it_is() -> None:
    good = judged(90, 100)
    assert good.startswith(
        "small compared 10 pairs of answers and decided 9. Of 200 choices that are known it decided 50 %, and of those "
        "it is right in 90 %"
    )
    assert "no better than guessing" not in good
    assert "guessing gives 50 %. That is no better than guessing." in judged(52, 100)
    unknown = here(record("judge", {"pairs": 1, "comparisons": 1}, judge=None, endpoint={"model": "big"}))
    assert unknown == "big compared 1 pair of answers and decided 1. How good this judge is, nobody measured."


def test_a_judge_is_told_with_how_often_it_was_fooled() -> None:
    assert "this run did not try" in judged(90, 100)
    tried = {"pairs": 16, "known": 12, "overall": proportion(3, 12).to_json(), "by_kind": {}}
    assert "It fell for 25 % (9 to 53) of answers that told it what to say, n = 12." in judged(
        90, 100, injections=tried
    )
    assert "knows none of the easy pairs" in judged(90, 100, injections=tried | {"known": 0, "overall": None})


def test_revisions_are_told_with_what_was_dropped() -> None:
    summary = {"prompts": 10, "rounds": 2, "revisions": 12, "dropped": {"empty": 2, "off topic": 6}, "helpful": 5}
    assert here(record("revise", summary)) == (
        "It answered 10 requests and revised each answer twice. Of 20 revisions 12 were kept; dropped: off topic 6, "
        "empty 2. No model scored them: what is kept passed the rules alone. 5 answers to harmless requests were mixed "
        "in."
    )


def test_revisions_are_told_with_what_scored_them() -> None:
    summary = {"prompts": 10, "rounds": 1, "revisions": 6, "gain": mean([1.0, 2.0, 3.0]).to_json()}
    told = here(record("revise", summary, scorer="harmlessness", num_revisions=6))
    assert "harmlessness scored them: the last revisions, kept or not, lie +2.00" in told
    assert "from the first answers, each being the best of 6 by that very score, which flatters it." in told
    assert "flatters" not in here(record("revise", summary, scorer="harmlessness", num_revisions=1))


def test_tasks_that_a_model_wrote_are_told_with_what_was_dropped() -> None:
    summary = {
        "seeds": 64,
        "rounds": 3,
        "instructions": {"asked": 48},
        "dropped": {"ROUGE-L": 2, "cut off": 9},
        "kept": {"tasks": 20, "instances": 22},
        "seed_rows": 60,
    }
    assert here(record("self_instruct", summary, model="small")) == (
        "small was shown some of 64 tasks by people at a time and asked for 48 new tasks in 3 rounds. 20 tasks with 22 "
        "answers were kept; dropped: cut off 9, ROUGE-L 2. 60 answers by people were mixed in."
    )


def test_what_was_tested_of_safety_is_not_said_to_be_untested() -> None:
    assert SAFETY_NOT_TESTED in _not_tested({"groups": {"all": 3}})
    tested = _not_tested({"groups": {"all": 3, "red_team": 2}})
    assert SAFETY_NOT_TESTED not in tested
    assert SAFETY_IN_PART in tested
