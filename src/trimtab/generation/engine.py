"""Generation with continuous batching over a preallocated key-value cache.

A prompt is read once for its whole group, and what several prompts begin with once for all of them. Each step appends
one token to every running sequence; a finished one gives its row to the last, and waiting ones enter when enough rows
are free. Which token a sequence draws is decided by one uniform number, fixed by (seed, prompt, member, step), so it
does not depend on what else runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trimtab.generation.prefixes import Run, runs
from trimtab.generation.sampler import Sampling, choose
from trimtab.models.decoder import Decoder, decoder_for
from trimtab.models.kv_cache import KeyValueCache, Prefill
from trimtab.models.policy import Policy
from trimtab.models.transformers_decoder import TransformersDecoder
from trimtab.seeds import mix


@dataclass(frozen=True, slots=True)
class Sample:
    """One response: tokens, their log-probabilities in nats under the distribution they were drawn from, and its end.

    `token_ids` ends with the stop token when `finish_reason` is "stop".
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Part:
    """Members `first` .. `first + size - 1` of the group of one prompt of a run: what enters the batch together."""

    run: Run
    prompt: int
    first: int
    size: int


class Engine:
    """Generates from a causal language model, plain or under PEFT.

    `dtype` is what matrix products run in. Known families run on a decoder with a copy of the weights, which
    `load_weights` refreshes; others run on the model itself.
    """

    def __init__(
        self,
        model: Any,
        *,
        stop_ids: Sequence[int] | set[int] | frozenset[int],
        pad_id: int,
        max_batch: int = 64,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.stop_ids = sorted(stop_ids)
        self.pad_id = pad_id
        self.max_batch = max_batch
        self.decoder: Decoder | TransformersDecoder = decoder_for(model, dtype) or TransformersDecoder(model, dtype)
        self.cache = KeyValueCache()
        self.device = next(model.parameters()).device

    @classmethod
    def of(cls, policy: Policy, *, max_batch: int = 64) -> Engine:
        """The engine of a policy, which stops where its template ends a turn."""
        template = policy.template
        dtype = policy.trunk.compute_dtype
        return cls(policy.model, stop_ids=template.stop_ids, pad_id=template.pad_id, max_batch=max_batch, dtype=dtype)

    @torch.no_grad()
    def load_weights(self, model: Any) -> None:
        """Take the weights of a model as they are now, its active adapter merged in. The shapes must be the same."""
        if not self.decoder.accepts(model):
            raise ValueError("this engine was made for a model of another shape")
        self.decoder.load_weights(model)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        group_size: int = 1,
        max_new_tokens: int | Sequence[int],
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[list[Sample]]:
        """`group_size` responses to each prompt (token ids), in the prompts' order.

        `max_new_tokens` is one limit for all, or one a prompt. Temperature 0 is greedy. `on_progress` hears how many
        responses are finished, of how many.
        """
        sampling = Sampling(temperature, top_p, top_k)
        limits = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
        batch = _Batch(self, prompts, group_size, limits, sampling, seed)
        with torch.no_grad():
            while not batch.is_done():
                batch.step()
                if on_progress is not None:
                    on_progress(batch.num_finished, len(prompts) * group_size)
        return batch.samples()

    def stream(
        self,
        prompt: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> Iterator[int]:
        """One response, token by token as it is drawn, the stop token included."""
        batch = _Batch(self, [prompt], 1, [max_new_tokens], Sampling(temperature, top_p, top_k), seed)
        while not batch.is_done():
            with torch.no_grad():
                batch.step()  # each step of a single sequence draws one token
            yield int(batch.tokens[0, batch.produced[0] - 1])


class _Batch:
    """One call of `generate`: what waits, what runs, and what was produced.

    Sequence s is member `s % group_size` of prompt `s // group_size`. `running[i]` is the sequence in cache row i and
    `lengths[i]` how many of its tokens the cache holds; the newest token is chosen but not yet in the cache.
    """

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Sequence[int]],
        group_size: int,
        limits: Sequence[int],
        sampling: Sampling,
        seed: int,
    ) -> None:
        if not all(prompts):
            raise ValueError("a prompt needs at least one token: the first of a response is predicted from it")
        if group_size < 1 or min(limits, default=1) < 1:
            raise ValueError("group_size and max_new_tokens are at least 1")
        if len(limits) != len(prompts):
            raise ValueError(f"max_new_tokens are {len(limits)} limits for {len(prompts)} prompts")
        self.engine, self.prompts, self.sampling = engine, prompts, sampling
        self.group_size = group_size
        count, device = len(prompts) * group_size, engine.device
        self.waiting = deque(
            Part(run, prompt, first, min(engine.max_batch, group_size - first))
            for run in runs(prompts)
            for prompt in run.prompts
            for first in range(0, group_size, engine.max_batch)
        )
        self.rows = min(engine.max_batch, count)
        self.columns = max((len(p) + n for p, n in zip(prompts, limits, strict=True)), default=0)
        longest = max(limits, default=1)
        self.limits = torch.tensor(limits, dtype=torch.long, device=device).repeat_interleave(group_size)
        self.tokens = torch.zeros(count, longest, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(count, longest, device=device)
        self.produced = torch.zeros(count, dtype=torch.long, device=device)
        self.stopped = torch.zeros(count, dtype=torch.bool, device=device)
        self.running = torch.zeros(0, dtype=torch.long, device=device)
        self.lengths = torch.zeros(0, dtype=torch.long, device=device)
        self.stop_ids = torch.tensor(engine.stop_ids, device=device)
        self.uniforms = _uniforms(len(prompts), group_size, longest, seed).to(device)
        self.num_finished = 0
        self.prefix: tuple[Run, Prefill] | None = None

    def is_done(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not len(self.running) and not self.waiting

    def step(self) -> None:
        """Let waiting sequences in, if it is time; else append a token to every running one."""
        parts = self._admissible()
        if parts:
            self._admit(parts)
            return
        newest = self.tokens[self.running, self.produced[self.running] - 1]
        longest = int(self.lengths.max())
        logits = self.engine.decoder.decode(self.engine.cache, newest, self.lengths, longest)
        self.lengths += 1
        self._append(self.running, logits)
        self._leave()

    def samples(self) -> list[list[Sample]]:
        """What was produced, prompt by prompt."""
        tokens, logprobs = self.tokens.tolist(), self.logprobs.tolist()
        produced, stopped = self.produced.tolist(), self.stopped.tolist()
        flat = [
            Sample(tuple(tokens[s][:n]), tuple(logprobs[s][:n]), "stop" if stopped[s] else "length")
            for s, n in enumerate(produced)
        ]
        return [flat[start : start + self.group_size] for start in range(0, len(flat), self.group_size)]

    def _admissible(self) -> list[Part]:
        """The parts that enter now, all of one run: none unless a quarter of the rows is free.

        Reading few prompts is slow.
        """
        free = self.rows - len(self.running)
        if not self.waiting or (len(self.running) and free < self.rows // 4):
            return []
        parts: list[Part] = []
        longest = 0
        while self.waiting and self.waiting[0].size <= free:
            run = self.waiting[0].run
            if parts and run is not parts[0].run:
                break
            longest = max(longest, len(self.prompts[self.waiting[0].prompt]) - run.shared)
            if parts and longest * (len(parts) + 1) > self.engine.decoder.prefill_tokens:
                break
            parts.append(self.waiting.popleft())
            free -= parts[-1].size
        return parts

    def _admit(self, parts: list[Part]) -> None:
        """Read the prompts of these parts, choose first tokens, and give the sequences rows."""
        device = self.running.device
        shared = parts[0].run.shared
        lengths = torch.tensor([len(self.prompts[part.prompt]) for part in parts])
        tokens = torch.full((len(parts), int(lengths.max()) - shared), self.engine.pad_id)
        for row, part in zip(tokens, parts, strict=True):
            rest = self.prompts[part.prompt][shared:]
            row[: len(rest)] = torch.tensor(rest)
        prefix = self._read_prefix(parts[0].run)
        prefill = self.engine.decoder.prefill(tokens.to(device), (lengths - shared).to(device), prefix)
        sources = torch.cat([torch.full((part.size,), index) for index, part in enumerate(parts)])
        first = [part.prompt * self.group_size + part.first for part in parts]
        entering = torch.cat([torch.arange(s, s + part.size) for s, part in zip(first, parts, strict=True)]).to(device)
        if not len(self.running):
            self.engine.cache.reserve(self.rows, self.columns, like=prefill)
        self.engine.cache.insert(len(self.running), prefill, sources.to(device))
        self.running = torch.cat([self.running, entering])
        self.lengths = torch.cat([self.lengths, lengths[sources].to(device)])
        self._append(entering, prefill.logits[sources.to(device)])
        self._leave()

    def _read_prefix(self, run: Run) -> Prefill | None:
        """What the prompts of a run begin with, read once."""
        if not run.shared:
            return None
        if self.prefix is None or self.prefix[0] is not run:
            tokens = torch.tensor([self.prompts[run.prompts[0]][: run.shared]], device=self.running.device)
            length = torch.tensor([run.shared], device=self.running.device)
            self.prefix = run, self.engine.decoder.prefill(tokens, length)
        return self.prefix[1]

    def _append(self, sequences: Tensor, logits: Tensor) -> None:
        """Choose the next token of these sequences."""
        at = self.produced[sequences]
        tokens, logprobs = choose(logits, self.uniforms[sequences, at], self.sampling)
        self.tokens[sequences, at] = tokens
        self.logprobs[sequences, at] = logprobs
        self.produced[sequences] = at + 1
        self.stopped[sequences] = torch.isin(tokens, self.stop_ids)

    def _leave(self) -> None:
        """Take finished sequences out; the last running ones move into the rows they leave."""
        finished = self.stopped[self.running] | (self.produced[self.running] == self.limits[self.running])
        if not finished.any():
            return
        left = int((~finished).sum())
        holes = finished[:left].nonzero()[:, 0]
        movers = left + (~finished[left:]).nonzero()[:, 0]
        if len(movers):
            self.engine.cache.move(movers, holes)
            self.running[holes], self.lengths[holes] = self.running[movers], self.lengths[movers]
        self.num_finished += len(self.running) - left
        self.running, self.lengths = self.running[:left], self.lengths[:left]


def _uniforms(num_prompts: int, group_size: int, length: int, seed: int) -> Tensor:
    """The numbers that decide each token, `[sequences, length]`: a sequence's own stream, whatever runs beside it."""
    generator = torch.Generator()
    streams = [
        torch.rand(length, generator=generator.manual_seed(mix(seed, prompt, member)))
        for prompt in range(num_prompts)
        for member in range(group_size)
    ]
    return torch.stack(streams) if streams else torch.zeros(0, length)
