"""Does asking about the most uncertain pairs first save labels? Simulated on comparisons whose votes are known.

python -m bench.selection --model runs/demo/sft [--seeds 30] [--start 24] [--batch 24] [--budget 312]

Every seed draws the same first pairs for all rules. After each batch everything is fitted anew; what is measured is how
often a head fitted to all votes so far prefers the better response of held-out pairs. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trimtab.evaluation.statistics import Estimate, mean
from trimtab.labelling.reward_heads import Array, entropy, fit_head, fit_heads, mutual_information, probability
from trimtab.labelling.selection import PRIOR_STD, scaled
from trimtab.seeds import mix

DATA = Path(__file__).parent.parent / "examples" / "expense_desk"

Rule = Callable[[Array, Array, np.random.Generator], Array]
"""What is asked first, `[M]`: the highest. From the ensemble's probabilities `[K, M]`, and those of one head `[M]`."""

RULES: Mapping[str, Rule] = {
    "random": lambda ensemble, one, rng: rng.random(one.shape),
    "information": lambda ensemble, one, rng: mutual_information(ensemble),
    "even": lambda ensemble, one, rng: entropy(one),
}
"""By chance, and by the measures of `trimtab labels select --by`: heads disagree; one head cannot decide."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Differences of features `[N, D]`, P(first is better) as people see it `[N]`, and the prompts."""

    differences: Array
    targets: Array
    prompts: Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pairs are drawn at random first, how many are asked about at once, and how many in all."""

    start: int
    batch: int
    budget: int
    heads: int

    @property
    def sizes(self) -> range:
        """Numbers of labels at which accuracy is measured."""
        return range(self.start, self.budget + 1, self.batch)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.selection", description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="a folder, a bundled model, RUN/STAGE")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--start", type=int, default=24)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--budget", type=int, default=312)
    parser.add_argument("--heads", type=int, default=8)
    options = parser.parse_args(arguments)
    pool, heldout = load(options.model)
    plan = Plan(options.start, options.batch, options.budget, options.heads)
    print(f"{options.model}: {len(pool.targets)} pairs to choose from, {len(heldout.targets)} held out\n")
    curves = {rule: [curve(rule, pool, heldout, plan, seed) for seed in range(options.seeds)] for rule in RULES}
    print(table(curves, heldout.prompts, plan))


def curve(rule: str, pool: Pairs, heldout: Pairs, plan: Plan, seed: int) -> Array:
    """How far each held-out pair is told right at each of the plan's sizes: `[sizes, pairs]`."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool.targets))
    asked, others = order[: plan.start], order[plan.start :]
    found = []
    for size in plan.sizes:
        seen = pool.differences[asked], pool.targets[asked]
        head = fit_head(*seen, np.ones(size), prior_std=PRIOR_STD)
        found.append(right(probability(heldout.differences @ head), heldout.targets))
        heads = fit_heads(*seen, heads=plan.heads, prior_std=PRIOR_STD, seed=mix(seed, size))
        left = pool.differences[others]
        worth = RULES[rule](probability(heads @ left.T), probability(left @ head), rng)
        chosen = np.argsort(-worth, kind="stable")[: plan.batch]
        asked, others = np.concatenate([asked, others[chosen]]), np.delete(others, chosen)
    return np.stack(found)


def right(predicted: Array, targets: Array) -> Array:
    """1 where what is said to be better is, 1/2 for an even guess, else 0. Even votes have no right answer."""
    return np.where(predicted == 0.5, 0.5, (predicted > 0.5) == (targets > 0.5))


def load(model: str) -> tuple[Pairs, Pairs]:
    """The pairs of the expense desk as the model sees them: those to choose from, and those held out."""
    from trimtab.config import Runtime
    from trimtab.data.formats import read_comparisons
    from trimtab.labelling.records import Item, Turn
    from trimtab.labelling.selection import seen_by
    from trimtab.models.loading import load_policy
    from trimtab.pipeline.find import find_policy
    from trimtab.pipeline.resolve import hardware

    device, dtype = hardware(Runtime())
    policy = load_policy(find_policy(model), weights_dtype=dtype, compute_dtype=dtype, device=device)
    parts = [list(read_comparisons(DATA / f"comparisons.{part}.jsonl")) for part in ("train", "heldout")]
    items = [
        Item(
            kind="compare",
            prompt=tuple(Turn(role=message.role, content=message.content) for message in one.prompt.messages),
            responses=(one.chosen, one.rejected),
        )
        for part in parts
        for one in part
    ]
    targets = np.array([one.probability for part in parts for one in part])
    return split(seen_by(policy)(items), targets, [item.prompt for item in items], len(parts[0]))


def split(differences: Array, targets: Array, prompts: Sequence[Hashable], first: int) -> tuple[Pairs, Pairs]:
    """The first pairs to choose from; the others held out, without those on which votes are even."""
    told = first + np.flatnonzero(targets[first:] != 0.5)
    differences = scaled(differences)
    return (
        Pairs(differences[:first], targets[:first], prompts[:first]),
        Pairs(differences[told], targets[told], [prompts[place] for place in told]),
    )


def table(curves: Mapping[str, Sequence[Array]], prompts: Sequence[Hashable], plan: Plan) -> str:
    """Accuracy in per cent by number of labels and rule, and the difference to random in percentage points.

    95 % intervals: over seeds, for these held-out pairs; in the last row over held-out prompts, for the mean of seeds.
    """
    others = [rule for rule in curves if rule != "random"]
    lines = [
        "| labels | random | " + " | ".join(f"{rule} | minus random" for rule in others) + " |",
        "| --- " * (2 + 2 * len(others)) + "|",
    ]
    stacked = {rule: np.stack(list(runs)) for rule, runs in curves.items()}  # [seeds, sizes, pairs]
    for place, size in enumerate(plan.sizes):
        lines.append(_row(f"{size}", {rule: runs[:, place].mean(1) for rule, runs in stacked.items()}, None))
    after = f"mean from {plan.sizes[1]} on"
    lines.append(_row(f"{after}, over seeds", {rule: runs[:, 1:].mean((1, 2)) for rule, runs in stacked.items()}, None))
    by_pair = {rule: runs[:, 1:].mean((0, 1)) for rule, runs in stacked.items()}
    lines.append(_row(f"{after}, over prompts", by_pair, prompts))
    return "\n".join(lines)


def _row(name: str, numbers: Mapping[str, Array], clusters: Sequence[Hashable] | None) -> str:
    cells = [f"{100 * numbers['random'].mean():.1f}"]
    for rule, found in numbers.items():
        if rule != "random":
            difference = mean((found - numbers["random"]).tolist(), clusters)
            cells += [f"{100 * found.mean():.1f}", points(difference)]
    return f"| {name} | " + " | ".join(cells) + " |"


def points(difference: Estimate) -> str:
    """A difference of shares in percentage points, with its interval where it has one."""
    if difference.low == difference.high or not np.isfinite(difference.low):
        return f"{100 * difference.value:+.1f}"
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


if __name__ == "__main__":
    main()
