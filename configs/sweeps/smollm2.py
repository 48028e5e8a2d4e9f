"""Critiques in natural language on a real pretrained model: a critique model, every source, every way of learning.

    make smollm2
    python -m experiments.quickstart --config=configs/rl/smollm2.py --workdir=runs/smollm2/countdown
    python -m experiments.sweep --config=configs/sweeps/smollm2.py --workdir=runs/smollm2/critique --workers=1

`said` and `critic` make a critique model from SmolLM2-135M-Instruct as released: `arithmetic`'s critiques of attempts
by the policy that was taught to imitate (the second command's runs/smollm2/countdown/sft). `scores` measures it on
held-out problems. `critic_even` goes on with attempts of the policy after RL, as many right as wrong, and `verdicts`
says how often it is right about held-out ones. `critic_oracle` is taught the solver's critiques instead, which judge
line after line, and begins as that policy, which knows the arithmetic; `verdicts_oracle` measures it alike. `at_test`
is what its verdicts and critiques are worth at test time, `calibrated` how sure the policy is of what it gets right.
`sums` is a policy that adds and subtracts two or three digits, `critic_sums` a critique model of its attempts that
begins as it, and `verdicts_sums` how often that one is right. `taught` is the first policy after lessons in refining.
Each arm takes 20 steps of 4 x 4 responses from the first policy (2 x 4 from `taught` where contexts are learnt):
enough to see that a source works and what is said, nothing about what it is worth. `folder` is criticised by the model
as released, `learned` by the first critique model. Most arms are Critique-GRPO; `joint`, `turns` and `sdpo` learn from
the solver's critiques in the other ways, `turns` from verdicts. `:api` is one arm more, whose critic is an
OpenAI-compatible server on port 8000, here that of llama.cpp, which `make test-server` installs:

    .venv-llama/bin/python tests/llama_server.py runs/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf 8000
"""

from __future__ import annotations

from typing import Any

from configs.common import part
from configs.rl.smollm2 import CONVERSATION, PATH, TASK

START = "runs/smollm2/countdown/sft"
TRAINED = "runs/smollm2/countdown/rl"
SOURCES = ("oracle", "arithmetic", "indicative", "inverted", "random", "none", "fresh", "self", "frozen")
# what is learnt from the solver's critiques, as configs/rl/critique_joint.py, critique_turns.py and sdpo.py have it
WAYS: dict[str, dict[str, Any]] = {
    "joint": {"critique.learn": "joint", "critique.attempts": 4},
    "turns": {"critique.learn": "joint", "critique.turns": 2, "critique.credit": "last", "critique.refined": 0},
}
# the verdict between attempts, as there: three attempts are shorter than with critiques
WAYS["turns"] |= {"critique.source": "indicative", "critique.attempts": 4, "critique.prompt_length": 288}
CONTEXTS = {"init": "{workdir}/taught", "critique.source": "oracle", "rollout.prompts": 2, "microbatches": 2}
# sums in words, whose attempts are an answer: a critique of them is a verdict
SUMS = "task=chain_sum,min_terms=2,max_terms=3,min_digits=1,max_digits=1"
SHORT = {"prompt.style": "plain", "prompt.prompt_length": 44, "prompt.response_length": 12, "rollout.slots": 64}
API = {"critique.source": "api", "critique.api.url": "http://localhost:8000/v1", "critique.api.model": "smollm2"}
API |= {"critique.api.key_from": ""}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The critique model and its scores, and an arm for each source; `:api` has the server's alone."""
    if arg == "api":
        return [run("api", API)]
    alone = TASK | {"rollout.slots": 64, "model.path": PATH, "init": START}
    policy = alone | CONVERSATION
    make = policy | {"problems": 384, "samples": 2, "planted": 128}
    teach = {"lessons.path": "{workdir}/said", "lessons.solve": 0.0, "lessons.critique": 1.0, "lessons.refine": 0.0}
    teach |= {"steps": 80, "batch": 8, "optimizer.learning_rate": 2e-4, "checkpoint.every": 20, "eval.problems": 4}
    scores = policy | {"critique.model": "{workdir}/critic", "eval.problems": 96, "eval.samples": 2}
    # the same model goes on with attempts of the policy after RL, which is right more often, both verdicts alike
    able = policy | {"init": TRAINED}
    said_able = able | {"first": 384, "problems": 384, "planted": 0}
    even = teach | {"lessons.path": "{workdir}/said_able", "lessons.even": True, "init": "{workdir}/critic"}
    even |= {"steps": 60, "microbatches": 2}
    verdicts = {"critique.model": "{workdir}/critic_even", "repair": False, "eval.problems": 128, "eval.samples": 4}
    # the solver's critiques judge every line before the answer; the model begins as the policy whose lines they are
    make_oracle = {"annotators": ("oracle",), "first": 384, "problems": 512, "planted": 192}
    # a policy that can refine a little, for the ways of learning that need right retries
    refined = {"annotators": ("oracle",), "problems": 512, "planted": 256}
    taught = teach | {"lessons.path": "{workdir}/said_taught", "init": START, "microbatches": 2}
    taught |= {"lessons.solve": 0.4, "lessons.critique": 0.0, "lessons.refine": 0.6}
    line_by_line = even | {"lessons.path": "{workdir}/said_oracle", "init": TRAINED, "steps": 150}
    judged = verdicts | {"critique.model": "{workdir}/critic_oracle"}
    test = able | {"critique.source": "learned", "critique.model": "{workdir}/critic_oracle", "chains": 4, "rounds": 1}
    test |= {"eval.problems": 64, "eval.samples": 4}
    words, lessons = "task=countdown_words", "rl/smollm2:lessons,part=sft"
    return [
        part("said", "make_critiques", f"critique/make:{words}", make),
        part("critic", "train_sft", lessons, teach, "said"),
        run("learned", {"critique.model": "{workdir}/critic"}),
        part("scores", "critique_scores", f"critique/scores:{words}", scores, "critic"),
        part("said_able", "make_critiques", f"critique/make:{words}", said_able),
        part("critic_even", "train_sft", lessons, even, "critic", "said_able"),
        part("verdicts", "critique_scores", f"critique/scores:{words}", able | verdicts, "critic_even"),
        part("said_oracle", "make_critiques", f"critique/make:{words}", able | make_oracle),
        part("critic_oracle", "train_sft", lessons, line_by_line, "said_oracle"),
        part("verdicts_oracle", "critique_scores", f"critique/scores:{words}", able | judged, "critic_oracle"),
        *(run(name, {}) for name in SOURCES),
        run("folder", {"critique.source": "learned", "critique.model": PATH}),
        # two questions a step, each for itself: rows are eight times as long as a question, one or two for each sample
        part("said_taught", "make_critiques", f"critique/make:{words}", make | refined),
        part("taught", "train_sft", lessons, taught, "said_taught"),
        *(run(name, CONTEXTS | WAYS[name]) for name in WAYS),
        run("sdpo", {"critique.source": "oracle"}, "sdpo"),
        part("at_test", "test_time", f"critique/test_time:{words}", test, "critic_oracle"),
        part("calibrated", "calibrate", f"calibrate:{words}", alone | {"eval.problems": 96, "eval.samples": 4}),
        *sums(),
    ]


def sums() -> list[dict[str, Any]]:
    """A policy that does sums, critiques of its attempts, a critique model, and its verdicts on held-out attempts."""
    policy = SHORT | {"model.path": PATH}
    few = {"steps": 80, "batch": 16, "microbatches": 1, "optimizer.learning_rate": 2e-4, "optimizer.warmup": 8}
    few |= {"log_every": 5, "eval.problems": 128, "eval.samples": 4, "eval.ks": (1, 2, 4), "checkpoint.every": 80}
    asked = {"critique.max_tokens": 16, "critique.prompt_length": 256}
    made = policy | asked | {"init": "{workdir}/sums", "problems": 1024, "samples": 2, "planted": 0, "first": 1024}
    teach = policy | few | {"init": "{workdir}/sums", "lessons.path": "{workdir}/said_sums", "lessons.level": "verdict"}
    teach |= {"lessons.solve": 0.0, "lessons.critique": 1.0, "steps": 140, "microbatches": 4}
    judged = policy | asked | {"init": "{workdir}/sums", "critique.model": "{workdir}/critic_sums", "repair": False}
    judged |= {"eval.problems": 256, "eval.samples": 4}
    return [
        part("sums", "train_sft", f"rl/hf:part=sft,{SUMS}", policy | few),
        part("said_sums", "make_critiques", f"critique/make:{SUMS}", made, "sums"),
        part("critic_sums", "train_sft", f"sft/critique_model:{SUMS}", teach, "said_sums"),
        part("verdicts_sums", "critique_scores", f"critique/scores:{SUMS}", judged, "critic_sums"),
    ]


def run(name: str, settings: dict[str, Any], variant: str = "critique") -> dict[str, Any]:
    """Critique-GRPO with the source of that name, or what `settings` make of it; or another variant of the recipe."""
    shared = {"init": START, "steps": 20, "rollout.prompts": 4, "rollout.samples": 4, "rollout.slots": 16}
    shared |= {"critique.source": name, "eval.every": 20, "eval.problems": 16, "samples": 16, "checkpoint.every": 10}
    after = ["critic"] if name == "learned" else ["taught"] if name in WAYS else []
    return part(name, "train_rl", f"rl/smollm2:{variant},part=rl", shared | settings, *after)
