"""`python -m bench`: runs the sides one after the other, alternating, keeps everything raw, renders the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from bench.jobs import FULL, OURS, WORKLOADS, Row, Workload, make_job, read_rows
from bench.side import Job
from bench.table import DISTURBED, insert, render

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "bench" / ".venv" / "bin"
ROWS = ROOT / "examples" / "expense_desk" / "comparisons.train.jsonl"
MODEL = "smollm2-135m-instruct"
LONGEST_RUN = 1800  # seconds until a side is given up
MODULES = {
    OURS: "bench.ours",
    "trl": "bench.peer_trl",
    "trl-defaults": "bench.peer_trl",
    "transformers": "bench.peer_transformers",
    "llama.cpp": "bench.peer_llama_cpp",
    "llama.cpp-f16": "bench.peer_llama_cpp",
}
COMMANDS = {
    ("help", OURS): ["trimtab", "--help"],
    ("help", "trl"): ["trl", "--help"],
    ("plan", OURS): ["trimtab", "plan", "recipes/demo.yaml"],
}


@dataclass(frozen=True)
class Turn:
    """One process to be run: a side of a workload."""

    workload: Workload
    side: str
    repeat: int


def schedule(workloads: Sequence[Workload], repeats: int, *, ours_only: bool = False) -> list[Turn]:
    """Whose turn it is: A B A B ..., workload after workload; those that belong together take turns too."""
    turns = []
    heads = [w for w in workloads if not any(w.beside == other.name for other in workloads)]
    for head in heads:
        together = [head, *(w for w in workloads if w.beside == head.name)]
        for repeat in range(repeats):
            for workload in together:
                sides = (OURS,) if ours_only else (OURS, *workload.peers)
                turns += [Turn(workload, side, repeat) for side in sides]
    return turns


def time_left(took: Mapping[tuple[str, str], Sequence[float]], todo: Iterable[Turn]) -> float:
    """Seconds that the turns to come will take: as long as the same took before, else as long as the mean turn did."""
    everything = [seconds for runs in took.values() for seconds in runs]
    mean = sum(everything) / len(everything) if everything else 0.0
    known = {key: sum(runs) / len(runs) for key, runs in took.items()}
    return sum(known.get((turn.workload.name, turn.side), mean) for turn in todo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure."""
    options = _parse(arguments)
    workloads = _chosen(options)
    if not options.ours_only and not (PEERS / "python").exists():
        sys.exit(
            "The peers are not installed. Run `make bench-setup` once (it compiles llama.cpp: some ten minutes), or "
            "measure trimtab alone: python -m bench --ours-only"
        )
    prepared = prepare(options)
    turns = schedule(workloads, options.repeats, ours_only=options.ours_only)
    results = {"machine": _machine(options, prepared), "workloads": [_describe(w) for w in workloads], "runs": []}
    file = options.out / f"{date.today()}-{_slug(results['machine']['processor'])}.json"
    took: dict[tuple[str, str], list[float]] = {}
    for number, turn in enumerate(turns):
        left = f", about {time_left(took, turns[number:]) / 60:.0f} min left" if took else ""
        _say(f"[{number + 1}/{len(turns)}{left}] {turn.workload.name}, {turn.side}, round {turn.repeat + 1}")
        began, busy = time.monotonic(), _busy_by_others()
        found = _measure(turn, prepared, options)
        seconds = time.monotonic() - began
        took.setdefault((turn.workload.name, turn.side), []).append(seconds)
        others = max(_busy_by_others() - busy, 0.0) / seconds
        run = {"workload": turn.workload.name, "side": turn.side, "repeat": turn.repeat, "others": round(others, 3)}
        results["runs"].append(run | found)
        _say("    " + _in_short(run | found))
        options.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=1) + "\n")
    table = render(results)
    print(table)
    _say(f"Everything raw is in {file}")
    if options.table:
        options.table.write_text(insert(options.table.read_text(), table))
        _say(f"The table is in {options.table}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", metavar="NAMES", help=f"workloads, with commas between: {', '.join(WORKLOADS)}")
    parser.add_argument("--adapter", action="store_true", help="also those that train a LoRA adapter")
    shared_options(parser)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="folder for the raw results")
    parser.add_argument("--table", type=Path, help="Markdown file whose table is to be replaced")
    parser.add_argument("--ours-only", action="store_true", help="measure trimtab alone")
    return parser.parse_args(arguments)


def shared_options(parser: argparse.ArgumentParser) -> None:
    """The options that say what a measurement is of, whatever is measured."""
    parser.add_argument("--repeats", type=int, default=3, help="processes of each side (3)")
    parser.add_argument("--rows", type=Path, default=ROWS, help="comparisons, in any format that trimtab reads")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N pairs only")
    parser.add_argument("--model", default=MODEL, help=f"a folder or a bundled name ({MODEL})")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="bf16 where the processor multiplies it fast")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="as many as there are cores")


def _chosen(options: argparse.Namespace) -> list[Workload]:
    if not options.only:
        return [w for w in WORKLOADS.values() if w in FULL or options.adapter]
    names = options.only.split(",")
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        sys.exit(f"There is no workload {unknown[0]!r}. There are: {', '.join(WORKLOADS)}")
    return [w for w in WORKLOADS.values() if w.name in names]


@dataclass(frozen=True)
class Prepared:
    """What all jobs have in common."""

    model: Path
    rows: list[Row]
    precision: str


def prepare(options: argparse.Namespace) -> Prepared:
    """Find the model, read the rows, choose the number type."""
    from trimtab.data.chat import ChatTemplate
    from trimtab.models.hardware import has_fast_bfloat16
    from trimtab.models.registry import load_tokenizer, locate

    model = locate(options.model, say=_say).resolve()
    rows = read_rows([options.rows], ChatTemplate(load_tokenizer(str(model))), options.limit)
    if not rows:
        sys.exit(f"{options.rows} holds no comparison in which one response is the better one")
    return Prepared(model, rows, options.precision or ("bf16" if has_fast_bfloat16() else "fp32"))


def _measure(turn: Turn, prepared: Prepared, options: argparse.Namespace) -> dict[str, Any]:
    if turn.workload.method == "command":
        return _time_command(turn)
    job = make_job(
        turn.workload, turn.side, prepared.rows, prepared.model, precision=prepared.precision, threads=options.threads
    )
    return run_side(turn.side, job)


def run_side(side: str, job: Job) -> dict[str, Any]:
    """Let a side do a job in a process of its own: what it says, or `error`."""
    python = sys.executable if side == OURS else str(PEERS / "python")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(job, file)
        file.flush()
        command = [python, "-m", MODULES[side], file.name]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment(side, job["threads"]),
                capture_output=True,
                text=True,
                timeout=LONGEST_RUN,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"gave no result in {LONGEST_RUN} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing was said"]
        return {"error": f"exit code {done.returncode}: {said[-1][:300]}", "stderr": said[-20:]}
    result = json.loads(done.stdout.strip().splitlines()[-1])
    expected = job["tokens"][job["warmup"] :]
    if result["tokens"] != expected:
        return {"error": f"computed {result['tokens']} tokens a step instead of {expected}"} | result
    return result


def environment(side: str, threads: int) -> dict[str, str]:
    """Of a process: PyTorch's threads wait as trimtab's do on every side, so that other processes hurt them less."""
    waiting = {} if side.startswith("llama") else {"GOMP_SPINCOUNT": "5000"}
    return waiting | os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}


def _busy_by_others() -> float:
    """Seconds for which processes that this one did not start have kept a core busy, since the machine started."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = children.ru_utime + children.ru_stime + time.process_time()
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own


def _time_command(turn: Turn) -> dict[str, Any]:
    """Wall time of a whole process, started again and again."""
    name, *rest = COMMANDS[turn.workload.name, turn.side]
    folder = Path(sys.executable).parent if turn.side == OURS else PEERS
    seconds = []
    for _ in range(turn.workload.warmup + turn.workload.steps):
        began = time.perf_counter()
        done = subprocess.run([str(folder / name), *rest], cwd=ROOT, capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)
        if done.returncode:
            return {"error": f"`{name}` gave exit code {done.returncode}", "stderr": done.stderr.splitlines()[-20:]}
    return {"seconds": seconds[turn.workload.warmup :], "did": f"the whole process `{' '.join((name, *rest))}`"}


def _machine(options: argparse.Namespace, prepared: Prepared) -> dict[str, Any]:
    return {
        "date": str(date.today()),
        "processor": _processor(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "precision": prepared.precision,
        "model": options.model if not Path(options.model).is_dir() else prepared.model.name,
        "rows": options.rows.name,
        "repeats": options.repeats,
        "commit": _commit(),
    }


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _instructions() -> str:
    """The instruction sets that decide how fast matrix products are."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")
    return " ".join(flag for flag in wanted if flag in _cpuinfo("flags").split())


def _commit() -> str:
    """The commit that was measured, with a mark if the tree had changes."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return git.stdout.strip()


def _describe(workload: Workload) -> dict[str, Any]:
    return {name: getattr(workload, name) for name in ("name", "title", "peers", "beside", "bar", "batch", "steps")}


def _in_short(found: Mapping[str, Any]) -> str:
    if "error" in found:
        return f"FAILED: {found['error']}"
    seconds = ", ".join(f"{s:.3g}" for s in found["seconds"])
    memory = f", at most {found['peak_bytes'] / 2**30:.2f} GiB" if "peak_bytes" in found else ""
    disturbed = f"; others kept {found['others']:.2f} cores busy" if found["others"] > DISTURBED else ""
    return f"{seconds} s{memory}{disturbed}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
