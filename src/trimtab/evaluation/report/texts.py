"""The report's fixed sentences, for a reader who is not an engineer."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    "sft": "Learning from examples",
    "reward_model": "Learning to judge",
    "ppo": "Practising against the judge",
}

AFTER: Mapping[str, str] = {
    "sft": "after learning from examples",
    "ppo": "after practising against the judge",
}

WHAT: Mapping[str, str] = {
    "sft": (
        "The model reads requests together with good answers and is adjusted, step by step, until it would write such "
        "answers itself. This is called supervised fine-tuning, or SFT."
    ),
    "reward_model": (
        "Somebody compared pairs of answers and said which one is better. A copy of the model learns from those "
        "choices to give any answer a score: the higher, the more it resembles what was preferred. The scale has no "
        "meaning of its own; only differences between scores count. This copy is called a reward model."
    ),
    "ppo": (
        "The model answers requests, the reward model scores its answers, and each step makes well-scored answers a "
        "little more likely. This is reinforcement learning; PPO is a cautious way of taking the steps. A model can "
        "learn to please its judge without getting better, so it also pays a price for drifting away from where it "
        "started. That drift is called KL: 0 means its habits have not changed."
    ),
}

CAPTIONS: Mapping[str, str] = {
    "sft/loss": "How surprised the model is by the example answers (nats a token). Lower is better.",
    "reward_model/loss": "How badly the scores fit the choices it learns from. Guessing gives 0.69. Lower is better.",
    "reward_model/accuracy": "Share of the choices it learns from that its scores get right. Guessing gives one half.",
    "score/mean": (
        "The judge's mean score of the answers written in practice. It should rise. Shaded: one standard deviation of "
        "single answers to each side."
    ),
    "kl/ref": "Drift away from the starting model (nats an answer). It should rise slowly and stay bounded.",
    "response/length": "Mean length of an answer (tokens). A jump can mean that length alone pleases the judge.",
    "policy/entropy": (
        "How varied the next word is (nats a token). If it falls to zero the model says the same thing every time."
    ),
    "response/eos_fraction": "Share of answers the model ended by itself before the length limit.",
    "value/explained_variance": "How well the value model foresees the return: 1 is perfect, 0 or below is no help.",
    "policy/clip_fraction": "Share of tokens whose step was cut short by the clip.",
    "policy/approx_kl": "How far one step moved the policy (nats a token).",
    "kl/coef": "Price of drift.",
    "sampler/logprob_gap": "Mean gap between generator and trainer log-probabilities (nats). Should stay near 0.",
    "optim/grad_norm": "Size of the gradient before clipping.",
    "optim/learning_rate": "Learning rate.",
}

FIGURE_TITLES: Mapping[str, str] = {
    "sft/loss": "Surprise at the examples (loss)",
    "reward_model/loss": "Misfit to the choices (loss)",
    "reward_model/accuracy": "Choices it gets right",
    "score/mean": "Score by the reward model",
    "kl/ref": "Drift (KL)",
    "response/length": "Length of answers",
    "policy/entropy": "Variety (entropy)",
    "response/eos_fraction": "Answers ended by itself",
    "value/explained_variance": "Value model: explained variance",
    "policy/clip_fraction": "Clip fraction",
    "policy/approx_kl": "KL of a step",
    "kl/coef": "KL coefficient",
    "sampler/logprob_gap": "Generator against trainer",
    "optim/grad_norm": "Gradient norm",
    "optim/learning_rate": "Learning rate",
}

NOT_TESTED: tuple[str, ...] = (
    "Requests unlike the held-out ones: other topics, other languages, long conversations.",
    "What was forgotten: whether the model lost abilities it had before this training.",
    "Safety: harmful requests, private data, attempts to talk the model out of its instructions, unfair treatment of "
    "groups of people.",
    "People's opinion: nobody compared the final answers by eye.",
    "Luck in training: this is one run with one seed. The intervals say how much the numbers could change with other "
    "prompts or samples, not with another run.",
    "Anything the checks do not look at. An answer that passes every check can still be wrong elsewhere.",
)
