"""Assemble the demonstrations and prompts of the expense desk from the hand-written pools.

`python examples/expense_desk/build.py` writes the files, with `--check` it compares them with what it would write.
Comparisons are not built here: they are people's and models' work, kept as it was collected.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

HERE = Path(__file__).parent
CATEGORIES = (
    "ground_travel",
    "staff_meals",
    "client_hospitality",
    "lodging",
    "air_and_ferry",
    "office_supplies",
    "software",
    "training",
    "marine_repairs",
)
DEMONSTRATED_PLAIN, DEMONSTRATED_TRAPS = 26, 4  # purposes per category
TRAIN_MEMOS, HELDOUT_MEMOS = 400, 80
MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905
# Currency, how often it is used, and what one pound is worth in it.
CURRENCIES = (("GBP", 0.6, 1.0), ("EUR", 0.2, 1.15), ("NOK", 0.2, 13.0))

Row = dict[str, Any]


@dataclass(frozen=True)
class LineItem:
    """One purchase, and the category that the policy gives it."""

    category: Row
    merchant: str
    purpose: str
    amount: str
    date: str

    def prompt(self, phrasing: str) -> str:
        return phrasing.format(date=self.date, merchant=self.merchant, amount=self.amount, purpose=self.purpose)

    @property
    def head(self) -> dict[str, str]:
        """The three lines that must be right."""
        return {
            "category": f"Category: {self.category['code']} {self.category['name']}",
            "amount": f"Amount: {self.amount}",
            "merchant": f"Merchant: {self.merchant}",
        }

    def truth(self) -> Row:
        lines = {name: {"line": line} for name, line in self.head.items()}
        return {**lines, "figures": {"figures_from": []}, "length": {"max_words": 60}}


def load(name: str) -> Any:
    return yaml.safe_load((HERE / "pools" / f"{name}.yaml").read_text(encoding="utf-8"))


def upper_first(text: str) -> str:
    return text[0].upper() + text[1:]


def draw_amount(random: Random, low: float, high: float) -> str:
    """A price between two sums in pounds, small ones more often, in one of the three currencies."""
    currency, _, rate = random.choices(CURRENCIES, [share for _, share, _ in CURRENCIES])[0]
    price = low * (high / low) ** random.random() * rate
    if currency == "NOK":
        return f"{round(price)} NOK"
    return f"{round(price * 20) / 20:.2f} {currency}"


def purposes_of(category: Row, *kinds: str) -> list[tuple[Row, str]]:
    """Every purpose of these kinds with its group, which knows the merchants and prices that suit it."""
    return [(group, purpose) for kind in kinds for group in category["groups"] for purpose in group[kind]]


def draw_items(random: Random, category: Row, purposes: list[tuple[Row, str]], merchants: str) -> list[LineItem]:
    """One item a purpose; within a group no merchant comes again before all others have had their turn."""
    queues: dict[str, list[str]] = {}
    items = []
    for group, purpose in purposes:
        queue = queues.setdefault(group["group"], [])
        if not queue:
            queue += random.sample(group[merchants], len(group[merchants]))
        date = f"{random.randint(1, 28)} {random.choice(MONTHS)}"
        text = purpose.format(n=random.randint(2, 6))
        items.append(LineItem(category, queue.pop(), text, draw_amount(random, *group["amount_gbp"]), date))
    return items


def user(text: str) -> list[Row]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def memo(item: LineItem, *, purpose: str, with_next: bool, opening: str) -> str:
    lines = [opening] if opening else []
    lines += [*item.head.values(), f"Purpose: {upper_first(purpose)}."]
    if with_next:
        lines.append(f"Next: Attach the receipt and send it to the {item.category['desk']} desk.")
    return "\n".join(lines)


def demonstrated_items(random: Random, category: Row) -> list[LineItem]:
    purposes = random.sample(purposes_of(category, "plain"), DEMONSTRATED_PLAIN)
    purposes += random.sample(purposes_of(category, "traps"), DEMONSTRATED_TRAPS)
    random.shuffle(purposes)
    return draw_items(random, category, purposes, "merchants")


def exact_share(random: Random, count: int, share: float) -> list[bool]:
    """`count` flags of which the share is true, in random order."""
    return random.sample([index < round(count * share) for index in range(count)], count)


def memos_of(random: Random, clerk: str, items: list[LineItem], wording: Row) -> Iterator[Row]:
    """One clerk's demonstrations, with the clerk's habits."""
    habits = wording["clerks"][clerk]
    flags = {habit: exact_share(random, len(items), share) for habit, share in habits.items()}
    for index, item in enumerate(items):
        purpose = item.purpose
        if flags["verbose"][index]:
            template = random.choice(wording["verbose"]).removesuffix(".")
            purpose = template.format(purpose=item.purpose, Purpose=upper_first(item.purpose))
        opening = random.choice(wording["chatty"]) if flags["chatty"][index] else ""
        text = memo(item, purpose=purpose, with_next=flags["next"][index], opening=opening)
        prompt = item.prompt(random.choice(wording["phrasings"]))
        yield {"clerk": clerk, "prompt": user(prompt), "completion": assistant(text)}


def build_demonstrations(categories: list[Row], facts: list[Row], wording: Row) -> list[Row]:
    random = Random("expense desk: demonstrations")
    clerks = list(wording["clerks"])
    items: dict[str, list[LineItem]] = {clerk: [] for clerk in clerks}
    for category in categories:
        for index, item in enumerate(demonstrated_items(random, category)):
            items[clerks[index % len(clerks)]].append(item)
    rows = [row for clerk in clerks for row in memos_of(random, clerk, items[clerk], wording)]
    for number, fact in enumerate(facts):
        for index, question in enumerate(fact["taught"]):
            clerk = clerks[(number + index) % len(clerks)]
            answer = fact["answers"][clerk == "moira"]
            rows.append({"clerk": clerk, "prompt": user(question), "completion": assistant(answer)})
    random.shuffle(rows)
    return [{"id": f"demo-{number:03}", **row} for number, row in enumerate(rows, 1)]


def prompt_rows(random: Random, items: list[LineItem], prefix: str, phrasings: list[str]) -> list[Row]:
    random.shuffle(items)
    return [
        {
            "id": f"{prefix}-{number:03}",
            "kind": "memo",
            "prompt": user(item.prompt(random.choice(phrasings))),
            "truth": item.truth(),
        }
        for number, item in enumerate(items, 1)
    ]


def spread(categories: list[Row], total: int) -> Iterator[tuple[Row, int]]:
    """Categories with their numbers of items, as even as can be."""
    each, more = divmod(total, len(categories))
    for index, category in enumerate(categories):
        yield category, each + (index < more)


def question_rows(facts: list[Row], wordings: str, prefix: str) -> list[Row]:
    """Questions in the wordings of this kind, with the checks that a right answer passes."""
    questions = [(question, fact) for fact in facts for question in fact[wordings]]
    return [
        {
            "id": f"{prefix}-{number:03}",
            "kind": "question",
            "prompt": user(question),
            "truth": {
                "fact": {"contains": fact["contains"]},
                "figures": {"figures_from": fact["figures"]},
                "length": {"max_words": 40},
            },
        }
        for number, (question, fact) in enumerate(questions, 1)
    ]


def build_train_prompts(categories: list[Row], facts: list[Row], wording: Row) -> list[Row]:
    random = Random("expense desk: prompts for training")
    items = []
    for category, count in spread(categories, TRAIN_MEMOS):
        purposes = random.sample(purposes_of(category, "plain", "traps"), count)
        items += draw_items(random, category, purposes, "merchants")
    return prompt_rows(random, items, "train", wording["phrasings"]) + question_rows(facts, "taught", "train-question")


def build_heldout_prompts(categories: list[Row], facts: list[Row], wording: Row) -> list[Row]:
    random = Random("expense desk: held-out prompts")
    items = []
    for category, count in spread(categories, HELDOUT_MEMOS):
        purposes = purposes_of(category, "heldout_traps", "heldout_plain")[:count]
        items += draw_items(random, category, purposes, "heldout_merchants")
    memos = prompt_rows(random, items, "heldout-memo", wording["phrasings"])
    return memos + question_rows(facts, "heldout", "heldout-question")


def build() -> dict[str, str]:
    """The text of every built file."""
    categories = [load(name) for name in CATEGORIES]
    facts, wording = load("questions"), load("wording")
    files = {
        "demonstrations.jsonl": build_demonstrations(categories, facts, wording),
        "prompts.train.jsonl": build_train_prompts(categories, facts, wording),
        "prompts.heldout.jsonl": build_heldout_prompts(categories, facts, wording),
    }
    return {name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) for name, rows in files.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    stale = []
    for name, text in build().items():
        path, content = HERE / name, text.encode()
        if not check:
            path.write_bytes(content)
        elif not path.exists() or path.read_bytes() != content:
            stale.append(name)
    if stale:
        print(f"not what the pools give: {', '.join(stale)}. Run build.py without --check and look at the difference.")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
