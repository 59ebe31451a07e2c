"""TRL's side of `bench.accuracy`: its RewardTrainer with the same adapter, rate, schedule, batches and token ids."""

from __future__ import annotations

import tempfile
from typing import Any

from bench.side import Job, Result, quiet, serve


def work(job: Job) -> Result:
    """Learn, and score what was held out."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    at_once, rows = 4, in_order(job["rows"], job["batch"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = RewardTrainer(
            AutoModelForSequenceClassification.from_pretrained(
                job["model"], num_labels=1, dtype=torch.float32, attn_implementation="eager"
            ),
            args=RewardConfig(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=at_once,
                gradient_accumulation_steps=job["batch"] // at_once,
                gradient_checkpointing=False,
                learning_rate=job["learning_rate"],
                warmup_steps=0.1,
                lr_scheduler_type="cosine",
                adam_beta2=0.95,
                adam_epsilon=1e-5,
                max_grad_norm=1.0,
                max_length=None,
                bf16=job["precision"] == "bf16",
                train_sampling_strategy="sequential",
                use_cpu=True,
                dataloader_pin_memory=False,
                report_to="none",
                save_strategy="no",
                logging_steps=10,
                disable_tqdm=True,
                seed=0,
            ),
            train_dataset=Dataset.from_list([_pair(row) for row in rows]),
            processing_class=AutoTokenizer.from_pretrained(job["model"]),
            peft_config=LoraConfig(
                r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="SEQ_CLS",
                modules_to_save=["score"],
            ),
        )  # fmt: skip
        trainer.train()
    return {"differences": scored(trainer.model.eval(), job["held_out"])}


def in_order(rows: list[dict[str, Any]], batch: int) -> list[dict[str, Any]]:
    """The rows of every step from short to long, so that those computed at once need little padding."""
    steps = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return [row for step in steps for row in sorted(step, key=lambda row: max(map(len, _pair(row).values())))]


def _pair(row: dict[str, Any]) -> dict[str, list[int]]:
    better, worse = row["response_ids"]
    return {"chosen_ids": row["prompt_ids"] + better, "rejected_ids": row["prompt_ids"] + worse}


def scored(model: Any, rows: list[dict[str, Any]]) -> list[float]:
    """Better minus worse, each pair computed by itself."""
    import torch

    differences = []
    with torch.no_grad():
        for row in rows:
            better, worse = (
                model(input_ids=torch.tensor([ids])).logits.item()
                for ids in _pair(row).values()
            )  # fmt: skip
            differences.append(better - worse)
    return differences


if __name__ == "__main__":
    quiet()
    serve(work)
