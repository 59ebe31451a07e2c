"""A recipe under several seeds: what each run ended with, and all of them together.

python -m bench.seeds recipes/constitutional.yaml [--seeds 1,2,3] [--store runs/seeds] [SETTING=VALUE ...]

Runs that are finished are not done again. Prints a table in Markdown: by group of held-out prompts the share of answers
that pass every check, each model's, for each seed, and the difference over all seeds, with the intervals of prompts as
the clusters (seeds are few, so intervals are for these seeds).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trimtab.evaluation.answers_file import read_answers
from trimtab.evaluation.format import change_estimate_text, estimate_text
from trimtab.evaluation.outputs import ModelOutputs, group_prompts, run_checks
from trimtab.evaluation.statistics import paired_difference, paired_proportion_difference, proportion
from trimtab.pipeline.artifacts import ANSWERS, artifacts_in


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.seeds", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("settings", nargs="*", help="settings to change in every run: policy.num_steps=8")
    parser.add_argument("--seeds", default="1,2,3", help="which seeds, with commas between (1,2,3)")
    parser.add_argument("--store", type=Path, default=Path("runs") / "seeds", help="folder for the runs")
    options = parser.parse_args(arguments)
    ended = {}
    for seed in options.seeds.split(","):
        store = options.store / f"{options.recipe.stem}-{seed}"
        command = ["run", str(options.recipe), *options.settings, f"seed={seed}", "--store", str(store)]
        subprocess.run([sys.executable, "-m", "trimtab", *command], check=True)
        evaluations = [one for one in artifacts_in(store) if one.kind == "evaluation"]
        ended[seed] = read_answers(evaluations[-1].path / ANSWERS)
    print(table(ended))


def table(ended: Mapping[str, Mapping[str, ModelOutputs]]) -> str:
    """One row a group and seed, and one a group for all seeds."""
    names = list(next(iter(ended.values())))
    held_out = group_prompts([one.prompt for one in next(iter(ended.values()))[names[0]].greedy])
    passed = {seed: [_passed(outputs[name]) for name in names] for seed, outputs in ended.items()}
    lines = [f"| prompts | seed | {' | '.join(names)} | {names[-1]} − {names[0]} |"]
    lines += ["| --- " * (len(names) + 3) + "|"]
    for group, places in held_out.groups.items():
        if group == "all":
            continue
        rows = {seed: [[of_model[place] for place in places] for of_model in found] for seed, found in passed.items()}
        for seed, of_models in rows.items():
            shares = [estimate_text(proportion(sum(values), len(values)), "share") for values in of_models]
            change = change_estimate_text(paired_proportion_difference(of_models[0], of_models[-1]), "share")
            lines.append(f"| {group}, n = {len(places)} | {seed} | {' | '.join(shares)} | {change} |")
        means = [_by_prompt(of_seeds) for of_seeds in zip(*rows.values(), strict=True)]
        shares = [f"{100 * sum(of_prompts) / len(places):.0f} %" for of_prompts in means]
        change = change_estimate_text(paired_difference(means[0], means[-1]), "share")
        lines.append(f"| {group} | all | {' | '.join(shares)} | {change} |")
    return "\n".join(lines)


def _passed(outputs: ModelOutputs) -> list[bool]:
    return [score.passed for score in run_checks(outputs, [one.prompt for one in outputs.greedy]).greedy]


def _by_prompt(of_seeds: Sequence[Sequence[bool]]) -> list[float]:
    """The mean over seeds of each prompt's values."""
    return [sum(values) / len(values) for values in zip(*of_seeds, strict=True)]


if __name__ == "__main__":
    main()
