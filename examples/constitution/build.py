"""Makes the JSONL files of this folder from the hand-written pools. `--check` says whether they are up to date.

python examples/constitution/build.py [--check]
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SEED = 11
LONGEST_DRAFT = 28  # words
VERSIONS = 2  # comparisons made of one harmful request
UNKIND_EVERY = 5  # every fifth worse answer to a harmful request is a bad refusal, not an answer that goes along

LOOK_ALIKE = {"kind": "look_alike", "category": "look_alike"}
NEEDLESS = {"kind": "look_alike", "category": "needless refusal"}

Row = dict[str, Any]


def pool(name: str) -> dict[str, Any]:
    return yaml.safe_load((HERE / "pools" / f"{name}.yaml").read_text(encoding="utf-8"))


def fields(line: str) -> list[str]:
    """The parts of an entry of a pool."""
    return line.split(" | ")


def drafts() -> dict[str, list[str]]:
    """What the default model answered to requests of the pools: worse than a refusal, or better than a needless one."""
    lines = (HERE / "pools" / "drafts.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["prompt"]: [opening(text) for text in row["drafts"]] for row in map(json.loads, lines)}


def samples() -> dict[str, list[dict[str, str]]]:
    """Pairs of what the default model answered after fine-tuning on its revisions: one declines, one goes along."""
    lines = (HERE / "pools" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["prompt"]: row["pairs"] for row in map(json.loads, lines)}


def needless() -> list[dict[str, str]]:
    """What the default model answered to harmless requests, and how it declined them once it was trained too far."""
    lines = (HERE / "pools" / "benign_samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def opening(text: str) -> str:
    """The first sentences, of at most some 30 words: drafts ramble, and length is not to tell the answers apart."""
    kept = ""
    for sentence in re.split(r"(?<=[.!?:])\s+", text):
        if kept and len(f"{kept} {sentence}".split()) > LONGEST_DRAFT:
            break
        kept = f"{kept} {sentence}".strip()
    return " ".join(kept.split()[: 2 * LONGEST_DRAFT])


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def red_team(part: str) -> Iterator[Row]:
    """Requests that ask for harm, one of each category after the other, so that the file's beginning has all kinds."""
    by_category = {name: requests[part] for name, requests in pool("red_team").items()}
    number = 0
    for place in range(max(map(len, by_category.values()))):
        for category, requests in by_category.items():
            if place < len(requests):
                number += 1
                row: Row = {"id": f"red-{part}-{number:03d}", "prompt": requests[place], "kind": "red_team"}
                row["category"] = category
                yield row | ({"truth": {"declines": {"refuses": True}}} if part != "train" else {})


def benign(part: str) -> Iterator[Row]:
    """Harmless requests: those that sound dangerous, and plain ones."""
    pools = pool("prompts")
    if part == "train":
        entries = [(kind, text, None) for kind, texts in pools["practice"].items() for text in texts]
    else:
        entries = [("look_alike", text, None) for text in pools[part]["look_alike"]]
        entries += [("helpful", text, pattern) for text, pattern in map(fields, pools[part]["helpful"])]
    for number, (kind, text, pattern) in enumerate(entries, start=1):
        row: Row = {"id": f"benign-{part}-{number:03d}", "prompt": text, "kind": kind}
        if part != "train":
            row["truth"] = {"answers": {"refuses": False}}
        if pattern:
            row["truth"]["fact"] = {"matches": rf"(?i)\b({pattern})\b"}
        yield row


def preferences(part: str) -> Iterator[Row]:
    """Pairs of answers to requests of their own, a better and a worse one."""
    draw = random.Random(f"{SEED} {part}")
    harm, harmless = pool("harm"), pool("harmless")
    rows = [*harmful_pairs(harm, part, draw), *harmless_pairs(harmless, part)]
    draw.shuffle(rows)
    for number, row in enumerate(rows, start=1):
        yield {"id": f"pair-{part}-{number:03d}"} | row


def harmful_pairs(harm: dict[str, Any], part: str, draw: random.Random) -> Iterator[Row]:
    """Good refusals beside answers that go along or bad refusals, and clumsy refusals beside answers that go along."""
    count, written = 0, drafts()
    forms = {name: harm[name][part] for name in ("refusals", "complying", "unkind", "plain", "seeming")}
    for category, prompt, what, why, offer in map(fields, harm[part]):
        row = {"prompt": prompt, "kind": "red_team", "category": category}
        refusals, complying = draw.sample(forms["refusals"], VERSIONS), draw.sample(forms["complying"], VERSIONS)
        for version, (refusal, goes_along) in enumerate(zip(refusals, complying, strict=True)):
            count += 1
            names = {"what": what, "why": why, "Why": capital(why), "What": capital(what), "offer": offer}
            worse = goes_along.format(**names)
            if count % 2:  # else refusals would be the longer ones, and length alone would tell them
                worse += " " + draw.choice(forms["complying"]).format(**names)
            if count % UNKIND_EVERY == 0:
                worse = draw.choice(forms["unkind"])
            elif version and prompt in written:
                worse = draw.choice(written[prompt])
            yield row | {"chosen": refusal.format(**names).replace("help you help you", "help you"), "rejected": worse}
        plain = {"declines": draw.choice(forms["plain"]).format(what=what)}
        plain["goes_along"] = draw.choice(forms["seeming"]).format(what=what)
        for pair in samples().get(prompt, [plain]):
            yield row | {"chosen": pair["declines"], "rejected": pair["goes_along"]}


def harmless_pairs(harmless: dict[str, Any], part: str) -> Iterator[Row]:
    """Answers beside needless refusals, and right answers beside wrong or idle ones."""
    written = drafts()
    for number, (prompt, good) in enumerate(map(fields, harmless["look_alike"][part])):
        refusals = harmless["refusing"][part]
        for version in range(VERSIONS):
            worse = refusals[(number + version * 3) % len(refusals)]
            better = written.get(prompt, [good])[0] if version else good
            yield {"prompt": prompt, "chosen": better, "rejected": worse} | LOOK_ALIKE
    yield from plain_pairs(harmless, part)


def plain_pairs(harmless: dict[str, Any], part: str) -> Iterator[Row]:
    """Right answers to plain requests beside wrong or idle ones."""
    for prompt, good, worse in map(fields, harmless["helpful"][part]):
        yield {"prompt": prompt, "chosen": good, "rejected": worse, "kind": "helpful", "category": "helpful"}


def helpful_comparisons() -> Iterator[Row]:
    """Pairs of plain requests, and needless refusals of the model's own: a preference model must know what help is."""
    plain = plain_pairs(pool("harmless"), "train")
    own = [{"prompt": one["prompt"], "chosen": one["answers"], "rejected": one["declines"]} for one in needless()]
    for number, row in enumerate([*plain, *(row | NEEDLESS for row in own)], start=1):
        yield {"id": f"helpful-{number:03d}"} | row


FILES = {
    "red_team.train": lambda: red_team("train"),
    "benign.train": lambda: benign("train"),
    "preferences": lambda: preferences("train"),
    "preferences.heldout": lambda: preferences("heldout"),
    "helpful_comparisons": helpful_comparisons,
    "development": lambda: [*red_team("development"), *benign("development")],
    "heldout": lambda: [*red_team("heldout"), *benign("heldout")],
}


def main() -> None:
    """Write the files, or say which differ from what the pools give."""
    stale = []
    for name, rows in FILES.items():
        path = HERE / f"{name}.jsonl"
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what the pools give: {', '.join(stale)}. Run python examples/constitution/build.py")


if __name__ == "__main__":
    main()
