"""Write a large data file, to see what trimtab needs for it: the same rows for the same number and seed.

python bench/million_rows.py 1000000 /tmp/million.jsonl
python bench/million_rows.py 1000000 /tmp/pairs.jsonl --comparisons
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

WORDS = [
    *("airport", "amount", "and", "approved", "asked", "bill", "board", "budget", "by", "card", "cash", "client"),
    *("coffee", "conference", "cost", "date", "day", "desk", "dinner", "euro", "expense", "fare", "flight", "for"),
    *("from", "guest", "hotel", "in", "invoice", "is", "item", "late", "limit", "lunch", "manager", "meal", "meeting"),
    *("memo", "missing", "month", "name", "night", "not", "of", "office", "on", "paid", "parking", "policy", "purpose"),
    *("receipt", "report", "room", "sum", "supplier", "taxi", "team", "ten", "that", "the", "ticket", "to", "total"),
    *("train", "trip", "twelve", "two", "under", "was", "week", "with", "without"),
]
COMPARISONS_A_PROMPT = 2


def demonstrations(count: int, rng: random.Random) -> Iterator[dict[str, str]]:
    """Prompts and completions of some 60 words together; the number in a prompt makes it the only one of its kind."""
    for number in range(count):
        yield {"prompt": f"{number}: {text(rng)}", "completion": text(rng)}


def comparisons(count: int, rng: random.Random) -> Iterator[dict[str, str]]:
    """Comparisons, two to a prompt. The second of a prompt stands where the file's other half begins."""
    prompts = -(-count // COMPARISONS_A_PROMPT)
    for number in range(count):
        yield {"prompt": f"Expense number {number % prompts}", "chosen": text(rng), "rejected": text(rng)}


def text(rng: random.Random) -> str:
    """20 to 40 words."""
    return " ".join(rng.choices(WORDS, k=rng.randint(20, 40)))


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--comparisons", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make = comparisons if options.comparisons else demonstrations
    with options.file.open("w", encoding="utf-8") as file:
        for row in make(options.rows, random.Random(options.seed)):
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
