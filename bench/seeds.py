"""A recipe under several seeds: what each run ended with, and all of them together.

python -m bench.seeds recipes/constitutional.yaml [--seeds 1,2,3] [--store runs/seeds] [SETTING=VALUE ...]

Runs that are finished are not done again. Prints a table in Markdown: by group of held-out prompts the share of answers
that pass every check, the base's and the last model's, for each seed, and the difference over all seeds, with the
intervals of prompts as the clusters (seeds are few, so intervals are for these seeds).
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
    first, *_, last = next(iter(ended.values()))
    held_out = group_prompts([one.prompt for one in next(iter(ended.values()))[first].greedy])
    passed = {seed: [_passed(outputs[name]) for name in (first, last)] for seed, outputs in ended.items()}
    lines = [f"| prompts | seed | {first} | {last} | difference |", "| --- | --- | --- | --- | --- |"]
    for group, places in held_out.groups.items():
        if group == "all":
            continue
        means: list[list[float]] = [[], []]
        for seed, (before, after) in passed.items():
            old, new = ([values[place] for place in places] for values in (before, after))
            shares = [estimate_text(proportion(sum(values), len(values)), "share") for values in (old, new)]
            change = change_estimate_text(paired_proportion_difference(old, new), "share")
            lines.append(f"| {group}, n = {len(places)} | {seed} | {shares[0]} | {shares[1]} | {change} |")
            for mean, values in zip(means, (old, new), strict=True):
                mean += [float(value) for value in values]
        old_mean, new_mean = (_by_prompt(values, len(places)) for values in means)
        change = change_estimate_text(paired_difference(old_mean, new_mean), "share")
        lines.append(
            f"| {group} | all | {100 * sum(old_mean) / len(places):.0f} % | {100 * sum(new_mean) / len(places):.0f} % "
            f"| {change} |"
        )
    return "\n".join(lines)


def _passed(outputs: ModelOutputs) -> list[bool]:
    return [score.passed for score in run_checks(outputs, [one.prompt for one in outputs.greedy]).greedy]


def _by_prompt(values: Sequence[float], number: int) -> list[float]:
    """The mean over seeds of each prompt's values, which come seed by seed."""
    return [sum(values[place::number]) / len(values[place::number]) for place in range(number)]


if __name__ == "__main__":
    main()
