"""Does asking about the most uncertain pairs first save labels? Simulated on comparisons whose votes are known.

python -m bench.selection --model runs/demo/sft [--seeds 30] [--start 24] [--batch 24] [--budget 312]

Every seed draws the same first pairs for all rules. After each batch everything is fitted anew; what is measured is how
often a head fitted to all votes so far prefers the better response of held-out pairs. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from trimtab.evaluation.statistics import Estimate, paired_difference
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
"""By chance; where heads disagree, as `trimtab labels select` has it; where one head cannot decide."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Differences of features `[N, D]`, and P(first is better) as people see it `[N]`."""

    differences: Array
    targets: Array


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
    print(table({rule: [curve(rule, pool, heldout, plan, s) for s in range(options.seeds)] for rule in RULES}, plan))


def curve(rule: str, pool: Pairs, heldout: Pairs, plan: Plan, seed: int) -> list[float]:
    """Held-out accuracy at each of the plan's sizes."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool.targets))
    asked, others = order[: plan.start], order[plan.start :]
    found = []
    for size in plan.sizes:
        seen = pool.differences[asked], pool.targets[asked]
        head = fit_head(*seen, np.ones(size), prior_std=PRIOR_STD)
        found.append(accuracy(probability(heldout.differences @ head), heldout.targets))
        heads = fit_heads(*seen, heads=plan.heads, prior_std=PRIOR_STD, seed=mix(seed, size))
        left = pool.differences[others]
        worth = RULES[rule](probability(heads @ left.T), probability(left @ head), rng)
        chosen = np.argsort(-worth, kind="stable")[: plan.batch]
        asked, others = np.concatenate([asked, others[chosen]]), np.delete(others, chosen)
    return found


def accuracy(predicted: Array, targets: Array) -> float:
    """How often what is said to be better is; an even guess counts one half. Pairs with even votes are left out."""
    told = targets != 0.5
    right = np.where(predicted == 0.5, 0.5, (predicted > 0.5) == (targets > 0.5))
    return float(right[told].mean())


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
    differences = scaled(seen_by(policy)(items))
    targets = np.array([one.probability for part in parts for one in part])
    cut = len(parts[0])
    return Pairs(differences[:cut], targets[:cut]), Pairs(differences[cut:], targets[cut:])


def table(curves: Mapping[str, Sequence[Sequence[float]]], plan: Plan) -> str:
    """Accuracy by number of labels and rule, and the difference to random: means over seeds with 95 % intervals."""
    others = [rule for rule in curves if rule != "random"]
    lines = [
        "| labels | random | " + " | ".join(f"{rule} | minus random" for rule in others) + " |",
        "| --- " * (2 + 2 * len(others)) + "|",
    ]
    at = {f"{size}": place for place, size in enumerate(plan.sizes)}
    for name, value in {**at, f"mean, from {plan.sizes[1]}": slice(1, None)}.items():
        numbers = {rule: [fmean(np.atleast_1d(one[value])) for one in curves[rule]] for rule in curves}
        cells = [f"{100 * fmean(numbers['random']):.1f}"]
        for rule in others:
            cells += [f"{100 * fmean(numbers[rule]):.1f}", points(paired_difference(numbers["random"], numbers[rule]))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def points(difference: Estimate) -> str:
    """A difference of shares in percentage points, with its interval where it has one."""
    if not np.isfinite(difference.low):
        return f"{100 * difference.value:+.1f}"
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


if __name__ == "__main__":
    main()
