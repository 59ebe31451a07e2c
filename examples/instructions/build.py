"""Assemble the instruction set from the hand-written pools.

`python examples/instructions/build.py` writes the files, with `--check` it compares them with what it would write.
A pool maps kinds of tasks to items. An item is `q` and `a`, or `turns` (user first, in turn), perhaps with `system`. A
held-out item also has `truth`, the checks of a good answer; its `a` is an answer that passes them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
HELD_OUT = "heldout.yaml"

Row = dict[str, Any]


def train_rows() -> Iterator[Row]:
    """Demonstrations: whole conversations that end with the assistant's answer."""
    yield from _rows(*sorted(path.name for path in (HERE / "pools").glob("*.yaml") if path.name != HELD_OUT))


def heldout_rows() -> Iterator[Row]:
    """Prompts to measure on, with the checks of a good answer and an answer that passes them."""
    for row in _rows(HELD_OUT):
        *prompt, answer = row.pop("messages")
        yield row | {"id": f"heldout-{row['id']}", "prompt": prompt, "reference": answer["content"]}


def _rows(*pools: str) -> Iterator[Row]:
    count: Counter[str] = Counter()
    for pool in pools:
        for kind, items in yaml.safe_load((HERE / "pools" / pool).read_text(encoding="utf-8")).items():
            for item in items:
                count[kind] += 1
                truth = {"truth": item["truth"]} if "truth" in item else {}
                yield {"id": f"{kind}-{count[kind]:03}", "kind": kind, "messages": _messages(item)} | truth


def _messages(item: Row) -> list[Row]:
    turns = [*item.get("turns", []), *(item[name] for name in ("q", "a") if name in item)]
    told = [{"role": "system", "content": item["system"]}] if "system" in item else []
    return told + [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]


def _lines(rows: Iterator[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Assemble the instruction set from its pools.")
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    stale = []
    for name, rows in {"train.jsonl": train_rows(), "heldout.jsonl": heldout_rows()}.items():
        path, text = HERE / name, _lines(rows)
        if check:
            stale += [name] if not path.is_file() or path.read_text(encoding="utf-8") != text else []
        else:
            path.write_text(text, encoding="utf-8")
            print(f"{name}: {text.count(chr(10))} rows")
    for name in stale:
        print(f"{name} is not what the pools give: run {Path(__file__).name}", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
