"""transformers' side of the writing workloads: `generate` on a left-padded batch, with its own cache."""

from __future__ import annotations

from typing import Any

from bench.side import Job, Result, quiet, serve, timed


def work(job: Job) -> Result:
    """Write from prompts: as many tokens a sequence as the job says, whatever they are."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, StoppingCriteria, StoppingCriteriaList

    torch.set_num_threads(job["threads"])
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[job["precision"]]
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).eval()
    model.generation_config = GenerationConfig(pad_token_id=model.config.pad_token_id)  # no token ends a sequence
    prompts = [row["prompt_ids"] for row in job["rows"]]
    width = max(map(len, prompts))
    ids = torch.tensor([[model.config.pad_token_id] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])

    class OwnLength(StoppingCriteria):
        """Done, sequence by sequence, at its own length; `generate` then pads it until all are done."""

        def __init__(self, limits: torch.Tensor) -> None:
            self.limits = limits

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
            return input_ids.shape[1] - width >= self.limits

    seconds: list[float] = []
    for step, limits in enumerate(map(torch.tensor, job["limits"])):
        torch.manual_seed(step)
        with torch.inference_mode(), timed(seconds):
            written = model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=int(limits.max()),
                stopping_criteria=StoppingCriteriaList([OwnLength(limits)]),
            )
        assert written.shape[1] - width == limits.max()
    did = (
        f"`generate` on one padded batch with a dynamic cache and {model.config._attn_implementation} attention, "
        f"weights in {job['precision']}; sampling at temperature 1; padding after a sequence's end is not counted"
    )
    start = job["warmup"]
    return {"seconds": seconds[start:], "tokens": [sum(limits) for limits in job["limits"][start:]], "did": did}


if __name__ == "__main__":
    quiet()
    serve(work)
