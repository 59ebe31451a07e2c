"""The harness in bench/: whose turn it is, what is counted, how results are put in words. Nothing here is timed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
from bench import run as bench_run
from bench.accuracy import table as accuracy_table
from bench.accuracy_trl import in_order
from bench.gguf_file import _permute, _place
from bench.jobs import WORKLOADS, Workload, lengths, make_job, read_rows
from bench.ours import placed
from bench.run import Turn, run_side, schedule, time_left
from bench.seeds import table as seeds_table
from bench.table import Span, insert, number, ratio, render, seconds

from trimtab.evaluation.outputs import ModelOutputs
from trimtab.training.batches import endless_batch, epoch_batches
from trimtab.types import Completion, Message, Prompt

SFT = Workload("sft", "SFT", "sft", ("trl",), batch=2)
DPO = Workload("dpo", "DPO", "dpo", ("trl",), batch=2)
GRPO = Workload("grpo", "GRPO", "grpo", ("trl",), batch=1, group_size=8)
PPO = Workload("ppo", "PPO", "ppo", (), batch=1, group_size=8, beside="grpo")


def turns(*args: Any, **kwargs: Any) -> list[tuple[str, str, int]]:
    return [(turn.workload.name, turn.side, turn.repeat) for turn in schedule(*args, **kwargs)]


def test_sides_take_turns() -> None:
    assert turns([SFT, DPO], 2) == [
        ("sft", "trimtab", 0),
        ("sft", "trl", 0),
        ("sft", "trimtab", 1),
        ("sft", "trl", 1),
        ("dpo", "trimtab", 0),
        ("dpo", "trl", 0),
        ("dpo", "trimtab", 1),
        ("dpo", "trl", 1),
    ]


def test_a_workload_beside_another_takes_turns_with_it() -> None:
    once = [("grpo", "trimtab"), ("grpo", "trl"), ("ppo", "trimtab")]
    assert turns([GRPO, PPO], 2) == [(*one, 0) for one in once] + [(*one, 1) for one in once]
    assert turns([PPO], 1) == [("ppo", "trimtab", 0)]


def test_ours_only() -> None:
    assert turns([SFT, GRPO, PPO], 1, ours_only=True) == [(n, "trimtab", 0) for n in ("sft", "grpo", "ppo")]


def test_time_left_is_what_the_same_took_before_else_the_mean() -> None:
    todo = [Turn(SFT, "trimtab", 1), Turn(SFT, "trl", 1), Turn(DPO, "trl", 0)]
    assert time_left({}, todo) == 0
    assert time_left({("sft", "trimtab"): [10.0, 20.0], ("sft", "trl"): [60.0]}, todo) == 15 + 60 + 30


ROWS = [
    {
        "prompt": [{"role": "user", "content": str(n)}],
        "prompt_ids": list(range(n)),
        "responses": ["a", "b"],
        "response_ids": [[1] * 10, [2] * 20],
    }
    for n in (3, 4, 5)
]


def job(workload: Workload, rows: list[dict[str, Any]] = ROWS) -> dict[str, Any]:
    return make_job(workload, "trimtab", rows, Path("model"), precision="fp32", threads=1)


def test_tokens_are_counted_with_a_prompt_for_every_response() -> None:
    assert job(SFT)["tokens"] == [3 + 10 + 4 + 10, 5 + 10 + 3 + 10, 4 + 10 + 5 + 10]
    assert job(DPO)["tokens"] == [2 * (3 + 4) + 60, 2 * (5 + 3) + 60, 2 * (4 + 5) + 60]
    assert job(GRPO)["tokens"] == [8 * (n + 64) for n in (3, 4, 5)]


def test_rows_come_again_where_there_are_too_few() -> None:
    assert [len(row["prompt_ids"]) for row in job(SFT)["rows"]] == [3, 4, 5, 3, 4, 5]


def test_writing_takes_prompts_of_about_64_tokens_and_lengths_that_every_side_gets() -> None:
    rows = [dict(ROWS[0], prompt_ids=[0] * n) for n in (10, 60, 66, 300)]
    made = job(Workload("w", "", "generate", batch=2, stops=True, steps=1), rows)
    assert [len(row["prompt_ids"]) for row in made["rows"]] == [66, 60]
    drawn = lengths(2)
    assert made["limits"] == [[min(n, 8) for n in drawn], drawn]
    assert made["tokens"] == [sum(limits) for limits in made["limits"]]


def test_lengths_are_skewed_and_bounded() -> None:
    drawn = lengths(4000)
    assert drawn == lengths(4000)
    assert (min(drawn), max(drawn)) == (1, 128)
    assert sorted(drawn)[2000] == pytest.approx(28, abs=2)  # the median of a geometric distribution of mean 40


def test_the_loops_see_rows_in_the_order_of_the_job() -> None:
    items = [f"row {n}" for n in range(6)]
    given = placed(items)
    assert [given[i] for batch in epoch_batches(6, 2, 1, seed=0) for i in batch] == items
    assert [given[i] for step in range(3) for i in endless_batch(6, 2, step, seed=0)] == items


class Letters:
    """A template whose tokens are code points."""

    def prompt_ids(self, prompt: Any) -> list[int]:
        return list(map(ord, prompt.messages[-1].content))

    def response_ids(self, text: str) -> list[int]:
        return list(map(ord, text))


def test_pairs_are_turned_the_better_first_and_ties_left_out(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    votes = '"votes": [{{"annotator": "a", "choice": {}}}, {{"annotator": "b", "choice": {}}}]'
    line = '{{"prompt": "{}", "responses": ["x", "y"], ' + votes + "}}\n"
    file.write_text(line.format("p", 1, 1) + line.format("q", 0, 1) + line.format("r", 0, 0))
    rows = read_rows([file], Letters())  # type: ignore[arg-type]
    assert {tuple(row["prompt_ids"]): row["responses"] for row in rows} == {
        (ord("p"),): ["y", "x"],
        (ord("r"),): ["x", "y"],
    }
    assert len(read_rows([file], Letters(), limit=1)) == 1  # type: ignore[arg-type]


def a_run(workload: str, side: str, repeat: int, *steps: float, **more: Any) -> dict[str, Any]:
    found = {"seconds": list(steps), "tokens": [100] * len(steps), "peak_bytes": 2**30, "did": f"{side} did it"}
    return {"workload": workload, "side": side, "repeat": repeat, "others": 0.0} | found | more


def test_medians_are_over_all_steps_and_ratios_spread_over_rounds() -> None:
    ours = [a_run("sft", "trimtab", 0, 1.0, 3.0), a_run("sft", "trimtab", 1, 2.0, 4.0)]
    theirs = [a_run("sft", "trl", 0, 8.0, 8.0), a_run("sft", "trl", 1, 6.0, 6.0)]
    assert seconds(ours) == Span(2.5, 1.0, 4.0)
    assert ratio(ours, theirs) == Span(7 / 2.5, 6 / 3, 8 / 2)


def results(*runs: dict[str, Any], workloads: tuple[Workload, ...] = (SFT,)) -> dict[str, Any]:
    machine = {"date": "2026-11-24", "processor": "Some CPU", "instructions": "avx2", "cores": 2, "threads": 2}
    machine |= {"memory_bytes": 2**34, "system": "Linux", "precision": "bf16", "model": "small", "rows": "pairs.jsonl"}
    machine |= {"repeats": 1, "commit": "abc"}
    return {"machine": machine, "workloads": [bench_run._describe(w) for w in workloads], "runs": list(runs)}


def test_the_table() -> None:
    table = render(results(a_run("sft", "trimtab", 0, 2.0), a_run("sft", "trl", 0, 5.0, peak_bytes=2**32)))
    cells = ["SFT", "2 (2–2) s, 50 tokens/s", "TRL", "5 (5–5) s, 20 tokens/s", "**2.5** (2.5–2.5)"]
    row = f"| {' | '.join([*cells, '1.00 GiB', '4.00 GiB', '0.25'])} |"
    assert row in table.splitlines()
    assert "Said plainly" not in table
    assert "- `sft`, TRL: trl did it." in table
    assert "Some CPU" in table


def test_what_is_below_the_bar_failed_or_was_disturbed_is_said() -> None:
    slow = render(results(a_run("sft", "trimtab", 0, 5.0), a_run("sft", "trl", 0, 2.0)))
    assert "`sft`: 0.4 times as fast as TRL is below the bar of 1." in slow
    broken = a_run("sft", "trl", 0, error="no memory")
    failed = render(results(a_run("sft", "trimtab", 0, 5.0), broken))
    assert "TRL failed in 1 of 1 rounds (no memory)" in failed
    assert "| SFT | 5 (5–5) s, 20 tokens/s |  |  |  | 1.00 GiB |  |  |" in failed
    disturbed = render(results(a_run("sft", "trimtab", 0, 5.0, others=0.7)))
    assert "other processes kept up to 0.7 cores busy during 1 of 1 runs" in disturbed


def test_ppo_is_compared_with_the_peer_of_the_workload_beside_it() -> None:
    runs = [a_run("grpo", "trimtab", 0, 2.0), a_run("grpo", "trl", 0, 8.0), a_run("ppo", "trimtab", 0, 4.0)]
    table = render(results(*runs, workloads=(GRPO, PPO)))
    assert "| PPO | 4 (4–4) s, 25 tokens/s | TRL | 8 (8–8) s, 12.5 tokens/s | **2** (2–2)" in table
    assert table.count("TRL: trl did it") == 1


def test_numbers_have_three_digits_at_most_behind_the_point() -> None:
    assert [number(n) for n in (1234.5, 99.4, 1.234, 0.1234)] == ["1234", "99.4", "1.23", "0.12"]


def test_only_what_is_between_the_markers_is_replaced() -> None:
    document = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n"
    new = insert(document, "table\n")
    assert new == "before\n<!-- bench:begin -->\n\ntable\n\n<!-- bench:end -->\nafter\n"
    assert insert(new, "table\n") == new
    with pytest.raises(ValueError, match="bench:begin"):
        insert("no markers", "table")


def test_the_documentation_has_the_markers() -> None:
    insert((bench_run.ROOT / "docs" / "performance.md").read_text(), "table\n")


def test_without_peers_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "PEERS", tmp_path)
    with pytest.raises(SystemExit, match=r"make bench-setup.*--ours-only"):
        bench_run.main(["--only", "sft"])


def test_an_unknown_workload_is_told() -> None:
    with pytest.raises(SystemExit, match="no workload 'stf'"):
        bench_run.main(["--only", "stf"])


def test_a_side_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "MODULES", {"trimtab": "bench.nowhere"})
    assert "No module named bench.nowhere" in run_side("trimtab", job(SFT))["error"]


def test_peers_exist_for_every_workload() -> None:
    for workload in WORKLOADS.values():
        for side in ("trimtab", *workload.peers):
            known = bench_run.COMMANDS if workload.method == "command" else bench_run.MODULES
            assert ((workload.name, side) if workload.method == "command" else side) in known
        assert not workload.beside or workload.beside in WORKLOADS


def test_gguf_names_and_the_order_of_rotated_rows() -> None:
    assert _place("model.layers.7.self_attn.q_proj.weight") == "blk.7.attn_q.weight"
    assert _place("model.norm.weight") == "output_norm.weight"
    rows = numpy.arange(8).reshape(8, 1)  # two heads of four: halves (0, 1) and (2, 3) become pairs (0, 2) and (1, 3)
    assert _permute(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_seeds_are_put_side_by_side_and_together() -> None:
    """Two prompts that want yes; of two seeds one ends with both right and one with one: 50 % and 75 % on average."""

    def answers(name: str, *texts: str) -> ModelOutputs:
        meta = [{"kind": kind, "truth": {"says": {"contains": "yes"}}} for kind in ("a", "a", "b")]
        prompts = [Prompt((Message("user", f"question {n}"),), one) for n, one in enumerate(meta)]
        return ModelOutputs(name, [Completion(p, t, (1,), (0.0,), "stop") for p, t in zip(prompts, texts, strict=True)])

    base = answers("base", "no", "yes", "no")
    ended = {
        "1": {"base": base, "sft": base, "policy": answers("policy", "yes", "yes", "no")},
        "2": {"base": base, "sft": answers("sft", "no", "no", "no"), "policy": answers("policy", "no", "yes", "no")},
    }
    lines = seeds_table(ended).splitlines()
    assert lines[0] == "| prompts | seed | base | sft | policy | policy − base |"
    assert lines[1].count("---") == 6
    assert lines[2].startswith("| a, n = 2 | 1 | 50 % (")
    assert "| 100 % (" in lines[2]
    assert lines[4].startswith("| a | all | 50 % | 25 % | 75 % | +25 points (")
    assert len(lines) == 2 + 2 * 3


def test_accuracies_are_compared_in_pairs() -> None:
    """Of four pairs one side has three right and the other two and a tie, which is half."""
    found = accuracy_table({"trimtab": [1.0, 2.0, 0.5, -1.0], "trl": [1.0, -2.0, 3.0, 0.0]}, range(4)).splitlines()
    assert found[0] == "| reward model | right, n = 4 | minus trl |"
    assert found[2].startswith("| trimtab | 75.0 % (")
    assert "| +12.5 points (" in found[2]
    assert found[3].startswith("| trl | 62.5 % (")


def test_rows_keep_their_step_when_they_are_put_in_order() -> None:
    rows = [{"prompt_ids": [1] * size, "response_ids": [[1], [1, 2]]} for size in (5, 3, 4, 1, 9, 7)]
    assert [len(row["prompt_ids"]) for row in in_order(rows, 3)] == [3, 4, 5, 1, 7, 9]
