"""TRL's side of the training workloads: `trl` with the settings that were found to be its fastest on a CPU,
`trl-defaults` as it comes, a step's whole batch at once.

It trains on the job's very token ids: where TRL tokenises by itself, its rows are exchanged for them, and what its data
loader gives out is counted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.side import Job, Result, quiet, serve

# What makes it fastest: eager attention, no gradient checkpointing, and so many rows (pairs, responses) at once; the
# rest of a step's batch is accumulated. README.md says how that was found.
AT_ONCE = {"sft": 4, "reward_model": 4, "dpo": 4, "grpo": 8}


def work(job: Job) -> Result:
    """A few steps of a training method."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Seconds from the beginning of each optimiser step to its end."""

        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            """A step begins."""
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """A step ends."""
            self.seconds.append(time.perf_counter() - self.began)

    torch.set_num_threads(job["threads"])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokens = METHODS[job["method"]](job, folder)
        trainer.add_callback(clock)
        trainer.train()
    counted = tokens()
    assert counted == job["tokens"], f"TRL saw {counted} tokens a step, not {job['tokens']}"
    start, args = job["warmup"], trainer.args
    learnt = "all weights in float32"
    if job["adapter"]:
        learnt = f"a LoRA adapter of rank 16 on all linear layers, frozen weights in {job['precision']}"
    did = (
        f"{type(trainer).__name__}: {learnt}, {'bf16 autocast' if args.bf16 else 'fp32'}, "
        f"{args.per_device_train_batch_size} at once × {args.gradient_accumulation_steps}, "
        f"{'' if args.gradient_checkpointing else 'no '}gradient checkpointing, "
        f"{trainer.model.config._attn_implementation} attention, {args.optim.value}"
    )
    return {"seconds": clock.seconds[start:], "tokens": counted[start:], "did": did}


def sft(job: Job, folder: str) -> Any:
    """Supervised fine-tuning on the better responses."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [
        {
            "input_ids": row["prompt_ids"] + row["response_ids"][0],
            "completion_mask": [0] * len(row["prompt_ids"]) + [1] * len(row["response_ids"][0]),
        }
        for row in job["rows"]
    ]
    trainer = SFTTrainer(
        _causal_lm(job),
        args=SFTConfig(**_common(job, folder), max_length=None, completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(job),
        peft_config=_lora(job),
    )
    return trainer, lambda: _loaded(trainer)


def reward_model(job: Job, folder: str) -> Any:
    """A reward model on pairs."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    rows = [
        {
            "chosen_ids": row["prompt_ids"] + row["response_ids"][0],
            "rejected_ids": row["prompt_ids"] + row["response_ids"][1],
        }
        for row in job["rows"]
    ]
    model = AutoModelForSequenceClassification.from_pretrained(
        job["model"], num_labels=1, dtype=torch.float32, **_attention(job)
    )
    trainer = RewardTrainer(
        model,
        args=RewardConfig(**_common(job, folder), max_length=None),
        train_dataset=Dataset.from_list(rows),
        processing_class=_tokenizer(job),
    )
    return trainer, lambda: _loaded(trainer)


def dpo(job: Job, folder: str) -> Any:
    """DPO on pairs, the reference computed in every step."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    tokenizer = _tokenizer(job)
    texts = [
        {
            "prompt": tokenizer.decode(row["prompt_ids"]),
            "chosen": tokenizer.decode(row["response_ids"][0]),
            "rejected": tokenizer.decode(row["response_ids"][1]),
        }
        for row in job["rows"]
    ]
    ids = [
        {"prompt_ids": row["prompt_ids"], "chosen_ids": row["response_ids"][0], "rejected_ids": row["response_ids"][1]}
        for row in job["rows"]
    ]
    trainer = DPOTrainer(
        _causal_lm(job),
        args=DPOConfig(**_common(job, folder), max_length=None, beta=0.1),
        train_dataset=Dataset.from_list(texts),
        processing_class=tokenizer,
        peft_config=_lora(job),
    )
    trainer.train_dataset = Dataset.from_list(ids)
    return trainer, lambda: _loaded(trainer)


def grpo(job: Job, folder: str) -> Any:
    """GRPO against a function, every response as long as it may be."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    written: list[int] = []

    def distinct_tokens(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        written.extend(map(len, completion_ids))
        return [float(len(set(ids))) for ids in completion_ids]

    trainer = GRPOTrainer(
        _causal_lm(job),
        reward_funcs=distinct_tokens,
        args=GRPOConfig(
            **_common(job, folder),
            num_generations=job["group_size"],
            max_completion_length=job["new_tokens"],
            generation_kwargs={"min_new_tokens": job["new_tokens"]},
            temperature=1.0,
            top_k=0,
            beta=0.04,
            num_iterations=1,
            shuffle_dataset=False,
        ),
        train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in job["rows"]]),
        processing_class=_tokenizer(job),
        peft_config=_lora(job),
    )
    ids, *_ = trainer._tokenize_prompts([row["prompt"] for row in job["rows"]])
    assert ids == [row["prompt_ids"] for row in job["rows"]], "TRL reads the prompts as other tokens"

    def tokens() -> list[int]:
        prompts = [len(row) for row in ids for _ in range(job["group_size"])]
        return _by_step([p + w for p, w in zip(prompts, written, strict=True)], job["batch"] * job["group_size"])

    return trainer, tokens


METHODS = {"sft": sft, "reward_model": reward_model, "dpo": dpo, "grpo": grpo}


def _common(job: Job, folder: str) -> dict[str, Any]:
    """Settings of every trainer."""
    responses = job["batch"] * job["group_size"]
    at_once = responses if _is_as_it_comes(job) else min(AT_ONCE[job["method"]], responses)
    tuned = {} if _is_as_it_comes(job) else {"gradient_checkpointing": False}
    return tuned | {
        "output_dir": folder,
        "max_steps": job["warmup"] + job["steps"],
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": responses // at_once,
        "bf16": job["precision"] == "bf16",
        "train_sampling_strategy": "sequential",
        "learning_rate": 1e-6,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-5,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }


def _is_as_it_comes(job: Job) -> bool:
    return job["side"] == "trl-defaults"


def _attention(job: Job) -> dict[str, str]:
    return {} if _is_as_it_comes(job) else {"attn_implementation": "eager"}


def _causal_lm(job: Job) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if job["adapter"] and job["precision"] == "bf16" else torch.float32
    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype, **_attention(job))


def _tokenizer(job: Job) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(job["model"])


def _lora(job: Job) -> Any:
    from peft import LoraConfig

    if not job["adapter"]:
        return None
    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def _loaded(trainer: Any) -> list[int]:
    """Real tokens of each step, as the data loader gives them out once more."""
    counts = [int(batch["attention_mask"].sum()) for batch in trainer.get_train_dataloader()]
    return _by_step(counts, trainer.args.gradient_accumulation_steps)[: trainer.args.max_steps]


def _by_step(counts: Sequence[int], size: int) -> list[int]:
    return [sum(counts[start : start + size]) for start in range(0, len(counts), size)]


if __name__ == "__main__":
    quiet()
    serve(work)
