"""From raw results to the table of docs/performance.md: `python -m bench.table RESULTS.json docs/performance.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

OURS = "trimtab"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
NAMES = {"trl": "TRL", "trl-defaults": "TRL as it comes", "llama.cpp-f16": "llama.cpp (f16)"}
GIB = 2**30
DISTURBED = 0.1  # cores kept busy by other processes, from which on a figure is not to be trusted

Run = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """A median with the least and the greatest of what it is the median of."""

    middle: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Span:
        """The span of at least one value."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{number(self.middle)} ({number(self.least)}–{number(self.greatest)})"


def number(value: float) -> str:
    """Three digits at least."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def seconds(runs: Sequence[Run]) -> Span:
    """Of all timed steps."""
    return Span.of([second for run in runs for second in run["seconds"]])


def ratio(ours: Sequence[Run], theirs: Sequence[Run]) -> Span:
    """How many times as fast ours is. Its middle is that of the medians; its ends are those of single rounds."""
    mine, other = ({run["repeat"]: median(run["seconds"]) for run in runs} for runs in (ours, theirs))
    rounds = [other[repeat] / mine[repeat] for repeat in mine if repeat in other]
    whole = seconds(theirs).middle / seconds(ours).middle
    return Span(whole, min([whole, *rounds]), max([whole, *rounds]))


def render(results: Mapping[str, Any]) -> str:
    """The table with what was measured on what, and what each side did."""
    rows, remarks, did = [], [], []
    for workload in results["workloads"]:
        ours, broken = _split(results["runs"], workload["name"], OURS)
        remarks += broken + _disturbances(workload["name"], results["runs"])
        if not ours:
            continue
        did += _did(workload, ours)
        at = workload["beside"] or workload["name"]
        peers = sorted({r["side"] for r in results["runs"] if r["workload"] == at and r["side"] != OURS}, key=_order)
        compared = False
        for peer in peers:
            theirs, broken = _split(results["runs"], at, peer)
            remarks += broken if at == workload["name"] else []
            if theirs:
                compared = True
                rows.append(_row(workload, ours, peer, theirs))
                remarks += _verdict(workload, peer, ratio(ours, theirs))
                did += _did(workload, theirs) if at == workload["name"] else []
        if not compared:
            rows.append(_row(workload, ours, "", []))
    head = [
        "| | trimtab | peer | | times as fast | peak memory | peer's | share |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    parts = [_about(results), "\n".join(head + rows)]
    parts += ["\n".join(["Said plainly:", "", *(f"- {remark}" for remark in remarks)])] if remarks else []
    parts += ["\n".join(["What each side did:", "", *dict.fromkeys(did)])]
    return "\n\n".join(parts) + "\n"


def insert(document: str, table: str) -> str:
    """The document with what is between its markers replaced. Raises `ValueError` when it has no markers."""
    before, found, rest = document.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"the document has no {BEGIN} with an {END} after it")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def _order(side: str) -> tuple[bool, str]:
    return side.startswith("llama"), side


def _split(runs: Sequence[Run], workload: str, side: str) -> tuple[list[Run], list[str]]:
    """The runs of a side that gave a result, and words on those that did not."""
    mine = [run for run in runs if run["workload"] == workload and run["side"] == side]
    failed = [run for run in mine if "error" in run]
    words = f"`{workload}`: {_name(side)} failed in {len(failed)} of {len(mine)} rounds"
    return [run for run in mine if "error" not in run], [f"{words} ({failed[0]['error']})."] if failed else []


def _disturbances(workload: str, runs: Sequence[Run]) -> list[str]:
    """Words on runs that did not have the machine to themselves."""
    mine = [run["others"] for run in runs if run["workload"] == workload]
    disturbed = [others for others in mine if others > DISTURBED]
    words = f"`{workload}`: other processes kept up to {number(max(mine, default=0))} cores busy"
    return [f"{words} during {len(disturbed)} of {len(mine)} runs; do not trust it."] if disturbed else []


def _verdict(workload: Mapping[str, Any], peer: str, found: Span) -> list[str]:
    if found.middle >= workload["bar"]:
        return []
    words = f"`{workload['name']}`: {number(found.middle)} times as fast as {_name(peer)}"
    return [f"{words} is below the bar of {number(workload['bar'])}."]


def _row(workload: Mapping[str, Any], ours: Sequence[Run], peer: str, theirs: Sequence[Run]) -> str:
    cells = [f"{workload['title']}", _speed(ours), _name(peer), _speed(theirs)]
    cells += (
        [f"**{number((found := ratio(ours, theirs)).middle)}** ({number(found.least)}–{number(found.greatest)})"]
        if theirs
        else [""]
    )
    mine, other = _peak(ours), _peak(theirs)
    cells += [f"{peak / GIB:.2f} GiB" if peak else "" for peak in (mine, other)]
    cells += [f"{mine / other:.2f}" if mine and other else ""]
    return f"| {' | '.join(cells)} |"


def _speed(runs: Sequence[Run]) -> str:
    """Seconds a step, and tokens a second where tokens were counted."""
    if not runs:
        return ""
    words = f"{seconds(runs)} s"
    if "tokens" in runs[0]:
        pairs = [pair for run in runs for pair in zip(run["tokens"], run["seconds"], strict=True)]
        words += f", {number(median([tokens / second for tokens, second in pairs]))} tokens/s"
    return words


def _peak(runs: Sequence[Run]) -> float:
    return max((run.get("peak_bytes", 0) for run in runs), default=0)


def _did(workload: Mapping[str, Any], runs: Sequence[Run]) -> list[str]:
    return [f"- `{workload['name']}`, {_name(runs[0]['side'])}: {runs[0]['did']}."]


def _name(side: str) -> str:
    return NAMES.get(side, side)


def _about(results: Mapping[str, Any]) -> str:
    m = results["machine"]
    versions: dict[str, str] = {}
    for run in results["runs"]:
        versions |= run.get("versions", {})
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return (
        f"Measured on {m['date']} on a {m['processor']} ({m['instructions'].replace('_', '-')}), {m['cores']} cores, "
        f"{m['threads']} threads, {m['memory_bytes'] / GIB:.0f} GiB; {m['system']}; {listed}; commit {m['commit']}.\n"
        f"Model {m['model']}, rows of {m['rows']}, matrix products in {m['precision']}. Seconds a step (for writing: a "
        f"call): median of all timed steps (least–greatest), {m['repeats']} processes of each side, alternating. Times "
        "as fast: peer's median divided by trimtab's (least–greatest of single rounds). Tokens are counted as if every "
        "response had a prompt of its own."
    )


def main() -> None:
    """Render a file of results again."""
    results, document = map(Path, sys.argv[1:])
    document.write_text(insert(document.read_text(), render(json.loads(results.read_text()))))


if __name__ == "__main__":
    main()
