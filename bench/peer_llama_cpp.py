"""llama.cpp's side of writing one sequence: its C API through llama-cpp-python, on a GGUF file of the same weights."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.side import Job, Result, serve, timed


def work(job: Job) -> Result:
    """Write from the job's one prompt."""
    kind = "f16" if job["side"].endswith("-f16") else {"bf16": "bf16", "fp32": "f32"}[job["precision"]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{kind}.gguf"
        # In a process of its own, so that its memory does not count.
        subprocess.run([sys.executable, "-m", "bench.gguf_file", job["model"], str(file), kind], check=True)
        return write(job, file, kind)


def write(job: Job, file: Path, kind: str) -> Result:
    """Write with this file's weights."""
    import llama_cpp

    keep_quiet = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(keep_quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_threads, settings.n_threads_batch = 512, job["threads"], job["threads"]
    context = llama_cpp.llama_init_from_model(model, settings)
    (row,) = job["rows"]
    seconds: list[float] = []
    for step, (count,) in enumerate(job["limits"]):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        sampler = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        llama_cpp.llama_sampler_chain_add(sampler, llama_cpp.llama_sampler_init_dist(step))
        with timed(seconds):
            written = _write(context, sampler, row["prompt_ids"], count)
        assert len(written) == count
    return {
        "seconds": seconds[job["warmup"] :],
        "tokens": [count for (count,) in job["limits"][job["warmup"] :]],
        "did": f"its C API, token by token, on a GGUF file of the same weights in {kind}, compiled with native "
        "instructions; sampling at temperature 1",
    }


def _write(context: object, sampler: object, prompt: list[int], count: int) -> list[int]:
    import llama_cpp

    written: list[int] = []
    fed = prompt
    while len(written) < count:
        tokens = (llama_cpp.llama_token * len(fed))(*fed)
        failed = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(fed)))
        assert not failed, f"llama_decode gave {failed}"
        written.append(llama_cpp.llama_sampler_sample(sampler, context, -1))
        fed = written[-1:]
    return written


if __name__ == "__main__":
    serve(work)
