"""trimtab's side of `bench.accuracy`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.ours import ADAPTER, Log, pairs_of
from bench.side import Job, Result, quiet, serve


def work(job: Job) -> Result:
    """Learn, and score what was held out."""
    import torch

    from trimtab.models.hardware import PRECISIONS
    from trimtab.models.loading import load_policy
    from trimtab.models.scalar_model import ScalarModel
    from trimtab.training.passes import Passes
    from trimtab.training.reward_model import on_comparisons, train_reward_model
    from trimtab.training.step import OptimizerSettings

    torch.set_num_threads(job["threads"])
    dtype = PRECISIONS[job["precision"]]
    policy = load_policy(job["model"], weights_dtype=dtype, compute_dtype=dtype)
    policy.trunk.add_adapter("reward", **ADAPTER)
    model = ScalarModel.fresh(policy.trunk, adapter="reward", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        train_reward_model(
            model,
            pairs_of(job["rows"]),
            on_comparisons(model, centering=0.0),
            normalize=False,
            passes=Passes(num_epochs=1, batch_size=job["batch"]),
            settings=OptimizerSettings(
                learning_rate=job["learning_rate"], warmup_ratio=0.1, schedule="cosine", micro_batch_tokens=2048
            ),
            seed=0,
            checkpoint_seconds=float("inf"),
            pad_id=policy.template.pad_id,
            run=Log(Path(folder)),
        )
    rows = [pair.row for pair in pairs_of(job["held_out"])]
    scores = model.score_rows(rows, pad_id=policy.template.pad_id, max_tokens=2048)
    return {"differences": [float(pair[0] - pair[1]) for pair in scores]}


if __name__ == "__main__":
    from trimtab.cli.libraries import settle_libraries

    quiet()
    settle_libraries()
    serve(work)
