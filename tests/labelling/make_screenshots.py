"""The pictures of docs/labelling.md, from a project on the expense desk of examples/expense_desk.

python -m tests.labelling.make_screenshots
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests.labelling.chromium import Chromium, served

from trimtab.labelling import people
from trimtab.labelling.records import Compared, Item, Label, LabelledItem, Turn
from trimtab.labelling.settings import Settings
from trimtab.labelling.store import Store

DOCS = Path(__file__).parents[2] / "docs"
ASKED = "Write the expense memo. 12 May, The Gull Inn, 42.80 EUR, lunch with the harbour master of Brindle Point"
LINES = "Category: HC7 Client hospitality\nAmount: 42.80 EUR\nMerchant: The Gull Inn\n"
NEXT = "\nNext: Attach the receipt and send it to the customer desk."
PLAIN = f"{LINES}Purpose: Lunch with the harbour master of Brindle Point.{NEXT}"
WORDY = (
    f"Of course! The memo is below.\n{LINES}Purpose: This was for the following: lunch with the harbour master.{NEXT}"
)
WRONG = f"{LINES.replace('42.80', '48.20')}Purpose: Lunch with the harbour master of Brindle Point."
NAMES = ("ann", "bo", "cy", "dee")


def main() -> None:
    """Take all of them."""
    with tempfile.TemporaryDirectory() as folder:
        prompt = (Turn(role="user", content=ASKED),)
        comparison = Item(kind="compare", prompt=prompt, responses=(PLAIN, WORDY))
        ranking = Item(kind="rank", prompt=prompt, responses=(PLAIN, WORDY, WRONG))
        chromium = Chromium()
        try:
            chromium.shape(1100, 790, scale=1.5)
            _take(chromium, Path(folder, "compare"), [comparison], "compare")
            chromium.shape(1100, 1200, scale=1.25)
            _take(chromium, Path(folder, "rank"), [ranking], "rank")
            chromium.shape(390, 844, scheme="dark", scale=2)
            _take(chromium, Path(folder, "phone"), [comparison], "phone-dark")
            chromium.shape(1100, 1160)
            _take(chromium, Path(folder, "dashboard"), _labelled(), "dashboard")
        finally:
            chromium.quit()


def _take(chromium: Chromium, folder: Path, items: list[Item] | list[LabelledItem], name: str) -> None:
    """A picture of what ann sees of a project, or of what the lead sees of one with labels."""
    store = Store.create(folder, Settings(title="Expense desk: which memo is better?", overlap=2))
    secrets = people.invite(store, ["lead"], is_lead=True) | people.invite(store, NAMES)
    if name == "dashboard":
        store.add_labels(items)
    else:
        store.add_items(items)
    with served(store) as base:
        chromium.sign_in(base, secrets["lead" if name == "dashboard" else "ann"])
        if name == "compare":
            chromium.choose("preference", "1")
            chromium.find("#reason").send_keys("B has a greeting and filler before it says the same.")
            chromium.run("document.activeElement.blur()")
        if name == "rank":
            for fault in ("Of course", "Of course", "48.20", "48.20"):  # to the end, the worst last
                next(answer for answer in chromium.all(".answer") if fault in answer.text).find_element(
                    "css selector", "[data-move='1']"
                ).click()
            chromium.run("document.activeElement.blur()")
        chromium.driver.save_screenshot(str(DOCS / f"label-{name}.png"))


def _labelled() -> list[LabelledItem]:
    """Eighty pairs with the votes of simulated people, each of whom sees the better memo in four of five."""
    chance = random.Random(1)
    entries = []
    for number in range(80):
        prompt = (Turn(role="user", content=f"{ASKED}, receipt {number + 1}"),)
        better = chance.choice((1, -1))
        gold = Compared(preference=better) if number % 10 == 0 else None
        item = Item(kind="compare", prompt=prompt, responses=(PLAIN, WORDY)[::better], gold=gold)
        voters = chance.sample(NAMES, 2 if number < 70 else 1)
        entries.append(LabelledItem(item=item, labels=tuple(_vote(name, better, chance) for name in voters)))
    return entries


def _vote(name: str, better: int, chance: random.Random) -> Label:
    preference = better if chance.random() < 0.8 else -better
    order = (0, 1) if chance.random() < 0.5 else (1, 0)
    return Label(
        annotator=name, answer=Compared(preference=preference), order=order, guidelines=1, seconds=chance.uniform(9, 40)
    )


if __name__ == "__main__":
    main()
