"""The report's fixed sentences, for a reader who is not an engineer."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    "self_instruct": "Writing tasks of its own",
    "revise": "Criticising and revising itself",
    "judge": "A model in the annotators' place",
    "sft": "Learning from examples",
    "text_tuning": "Learning from a text",
    "reward_model": "Learning to judge",
    "dpo": "Learning from comparisons",
    "ppo": "Practising against the judge",
    "grpo": "Practising in groups",
}

AFTER: Mapping[str, str] = {
    "templated": "as it came, asked with the chat template",
    "sft": "after learning from examples",
    "text_tuning": "after learning from the text",
    "dpo": "after learning from comparisons",
    "ppo": "after practising against the judge",
    "grpo": "after practising in groups",
    "text": "what really follows",
}

WHAT: Mapping[str, str] = {
    "self_instruct": (
        "From a few tasks that people wrote, a model writes more of the kind, and then an answer to each. Filters drop "
        "what is too near to a task that is there, too short, too long, or of a kind that a model cannot do. What is "
        "left is read by the step after as if people had written it; nobody has checked that the answers are right."
    ),
    "revise": (
        "A list of principles, called a constitution, takes the place of people who judge. The model answers requests "
        "that ask for harm, is asked what is wrong with its answer by one of the principles, and writes the answer "
        "again. Revisions that pass a filter are what the next step learns from, together with the model's own answers "
        "to harmless requests."
    ),
    "judge": (
        "Each request has several answers, and a model says of pairs of them how probable it is that the one is better "
        "than the other. These probabilities take the place of people's votes; the step after learns from them. Such a "
        "judge has leanings and errors of its own, so it is first tested on choices that are known."
    ),
    "sft": (
        "The model reads requests together with good answers and is adjusted, step by step, until it would write such "
        "answers itself. This is called supervised fine-tuning, or SFT."
    ),
    "text_tuning": (
        "The model reads a text and is adjusted, step by step, until it would write on as the text does: the words, "
        "the sentences, the form. Nothing is asked and nothing answered; every word of the text is a small lesson. "
        "This is the way in which language models are made in the first place, continued on one text. A part of the "
        "text is kept away from it, to see whether it has learnt the style or the words by heart."
    ),
    "reward_model": (
        "People, or a model in their place, compared pairs of answers and said which one is better. A copy of the "
        "model learns from those choices to give any answer a score: the higher, the more it resembles what was "
        "preferred. The scale has no meaning of its own; only differences between scores count. This copy is called a "
        "reward model."
    ),
    "dpo": (
        "People, or a model in their place, compared pairs of answers and said which one is better. The model reads "
        "each pair and is adjusted, step by step, so that the preferred answer gains on the other one, measured by how "
        "likely it found each before. No judge and no practice are needed: the choices themselves teach it. This is "
        "called direct preference optimisation, or DPO. A price keeps it from drifting too far away from where it "
        "started."
    ),
    "ppo": (
        "The model answers requests, the reward model scores its answers, and each step makes well-scored answers a "
        "little more likely. This is reinforcement learning; PPO is a cautious way of taking the steps. A model can "
        "learn to please its judge without getting better, so it also pays a price for drifting away from where it "
        "started. That drift is called KL: 0 means its habits have not changed."
    ),
    "grpo": (
        "The model writes a group of answers to each request, and each answer gets a score: from a reward model, or "
        "from fixed checks that a program makes. Every step makes the answers that scored above the average of their "
        "group a little more likely, and the others a little less. This is reinforcement learning; GRPO is a way of it "
        "in which answers are compared with one another. A model can learn to please whatever scores it without "
        "getting better, so it can be made to pay a price for drifting away from where it started. That drift is "
        "called KL: 0 means its habits have not changed."
    ),
}

RED_TEAM = "red_team"
"""What held-out requests that ask for harm have in their column `kind`."""

SCORED_BY = "the checks that come with the requests"

BY_AGREEMENT: Mapping[str, str] = {
    "unanimous": "Where everybody agreed",
    "majority": "Where most agreed",
    "split": "Where people were divided",
    "one vote": "Where one person was asked",
}
"""How the judge does, by how far people agree; the names are those of the evaluation."""

CAPTIONS: Mapping[str, str] = {
    "sft/loss": "How surprised the model is by what it learns to write (nats a token). Lower is better.",
    "reward_model/loss": (
        "How badly the scores fit the choices it learns from. Guessing between two gives 0.69. Lower is better."
    ),
    "reward_model/grade_error": "How many steps of the scale its scores are away from the grades it learns from.",
    "reward_model/accuracy": "Share of the choices it learns from that its scores get right. Guessing gives one half.",
    "dpo/accuracy": (
        "Share of the choices it learns from in which the preferred answer has gained more than the other one. It "
        "starts at one half, as nothing has changed yet, and should rise."
    ),
    "dpo/margin": (
        "How far the preferred answers have gained on the others, compared with the starting model. It starts at 0 and "
        "should rise."
    ),
    "dpo/loss": "How badly what it has gained fits the choices. It starts at 0.69. Lower is better.",
    "dpo/chosen_reward": (
        "How far the preferred answers have become more likely (price of drift times nats an answer). Below 0 they "
        "have become less likely than at the start, which is common; only the difference is learnt."
    ),
    "dpo/rejected_reward": "The same for the answers that were not preferred. It should lie below the other curve.",
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
    "kl/loss": "Drift as the loss counts it (nats a token), never below 0.",
    "group/zero_variance_fraction": (
        "Share of groups in which all answers got the same score. Such a group teaches nothing."
    ),
    "sampler/logprob_gap": "Mean gap between generator and trainer log-probabilities (nats). Should stay near 0.",
    "optim/grad_norm": "Size of the gradient before clipping.",
    "optim/learning_rate": "Learning rate.",
}

CAPTIONS_BY_CHECKS: Mapping[str, str] = {
    "score/mean": (
        "Mean share of the checks that the answers written in practice pass. It should rise. Shaded: one standard "
        "deviation of single answers to each side."
    ),
    "response/length": "Mean length of an answer (tokens). A jump can mean that length alone passes more checks.",
}
"""Captions that differ where checks score the answers rather than a reward model."""

FIGURE_TITLES: Mapping[str, str] = {
    "sft/loss": "Surprise (loss)",
    "reward_model/loss": "Misfit to the choices (loss)",
    "reward_model/accuracy": "Choices it gets right",
    "reward_model/grade_error": "Distance from the grades",
    "dpo/accuracy": "Choices it has moved towards",
    "dpo/margin": "Lead of preferred answers",
    "dpo/loss": "Misfit to the choices (loss)",
    "dpo/chosen_reward": "Gain of preferred answers",
    "dpo/rejected_reward": "Gain of the other answers",
    "score/mean": "Score by the reward model",
    "kl/ref": "Drift (KL)",
    "response/length": "Length of answers",
    "policy/entropy": "Variety (entropy)",
    "response/eos_fraction": "Answers ended by itself",
    "value/explained_variance": "Value model: explained variance",
    "policy/clip_fraction": "Clip fraction",
    "policy/approx_kl": "KL of a step",
    "kl/coef": "KL coefficient",
    "kl/loss": "KL in the loss",
    "group/zero_variance_fraction": "Groups of equal scores",
    "sampler/logprob_gap": "Generator against trainer",
    "optim/grad_norm": "Gradient norm",
    "optim/learning_rate": "Learning rate",
}

TITLES_BY_CHECKS: Mapping[str, str] = {"score/mean": "Checks passed in practice"}
"""Titles of figures that differ where checks score the answers rather than a reward model."""

SAFETY_NOT_TESTED = (
    "Safety: harmful requests, private data, attempts to talk the model out of its instructions, unfair treatment of "
    "groups of people."
)
SAFETY_IN_PART = (
    "Safety beyond plain harmful requests: attempts to talk the model out of its principles, long dialogues, private "
    "data, unfair treatment of groups of people."
)
"""What is said in its place where harmful requests were among the held-out ones."""

NOT_TESTED: tuple[str, ...] = (
    "Requests unlike the held-out ones: other topics, other languages, long conversations.",
    "What was forgotten: whether the model lost abilities it had before this training.",
    SAFETY_NOT_TESTED,
    "People's opinion: nobody compared the final answers by eye.",
    "Luck in training: this is one run with one seed. The intervals say how much the numbers could change with other "
    "prompts or samples, not with another run.",
    "Anything the checks do not look at. An answer that passes every check can still be wrong elsewhere.",
)

NOT_TESTED_ON_TEXT: tuple[str, ...] = (
    "Whether what it writes makes sense, is true or is good. The classifier looks at letters, not at meaning.",
    "What was forgotten: whether the model still answers requests as it did before this training.",
    "Text unlike the held-out part, which is the end of the same text.",
    "Copying in other words, and copying of runs shorter than 8 words.",
    "People's opinion: nobody compared the samples by eye.",
    "Luck in training: this is one run with one seed. The intervals say how much the numbers could change with other "
    "passages or samples, not with another run.",
)
