"""Generation in text: prompts in, completions out, through a model's chat template."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from trimtab.data.chat import ChatTemplate
from trimtab.generation.engine import Engine, Sample
from trimtab.types import Completion, Prompt


def complete(
    engine: Engine,
    template: ChatTemplate,
    prompts: Sequence[Prompt],
    *,
    group_size: int = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[Completion]]:
    """`group_size` completions of each prompt, in the prompts' order."""
    groups = engine.generate(
        [template.prompt_ids(prompt) for prompt in prompts],
        group_size=group_size,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        on_progress=on_progress,
    )
    return [
        [as_completion(template, prompt, sample) for sample in group]
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def as_completion(template: ChatTemplate, prompt: Prompt, sample: Sample) -> Completion:
    """A sample as text."""
    return Completion(
        prompt=prompt,
        text=template.decode(sample.token_ids),
        token_ids=sample.token_ids,
        logprobs=sample.logprobs,
        finish_reason=sample.finish_reason,
    )


def text_pieces(template: ChatTemplate, tokens: Iterable[int]) -> Iterator[str]:
    """A response's text in pieces, as its tokens come and the text becomes certain. Joined they are the whole text."""
    seen: list[int] = []
    shown = ""
    for token in tokens:
        seen.append(token)
        text = template.decode(seen)
        if text.startswith(shown) and not text.endswith("\N{REPLACEMENT CHARACTER}"):  # half a character may follow
            yield text[len(shown) :]
            shown = text
    if text := template.decode(seen)[len(shown) :]:
        yield text
