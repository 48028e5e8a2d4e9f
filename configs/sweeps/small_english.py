"""Does a critique in the training loop keep a policy wide? The same arms for a small model of generated English.

    python -m experiments.sweep --config=configs/sweeps/small_english.py:tune --workdir=runs/small_english --workers=1
    python -m experiments.sweep --config=configs/sweeps/small_english.py:runs/small_english \\
        --workdir=runs/small_english --workers=1
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/small_english --config.k=32 \\
        --config.more="('policy/entropy_sequence:mean','refine/repaired:first','refine/repaired')" \\
        --workdir=runs/small_english-table

Between the toy of configs/sweeps/critique.py (0.1 M parameters, a closed vocabulary) and configs/sweeps/smollm2.py: a
Qwen3 of 1.06 M parameters with a BPE tokenizer of 583 tokens, made here from nothing. `folder` has random weights and
the tokenizer, trained on questions, answers, critiques and requests; `sft` imitates worked answers of three tasks
(Countdown in words, sums of two numbers, greatest common divisors; in rounds of 4, 1 and 1), `said` has critiques of
its attempts at them by the tasks' oracle, and `taught` learns from these to solve, to criticise and to refine, all in
turns of a chat; `said_more` and `start` are once more the same. `scores` is what a retry of a failed attempt is worth
at the start, after each kind of critique.

All arms are trained on Countdown in words from `start` and meet the same questions, 16 a step with 8 rows each, 2
updates. grpo, and what retries follow in Critique-GRPO (one retry takes the place of the eighth row): fresh (another
sample, no retry), none (no words), random (a critique of another attempt), indicative (the verdict), oracle (first
wrong step and why), self (the policy's own critique), hint (the solver's with a step to take, which leaks part of a
solution). joint and hint_joint learn up to four retries under the solver's critique too, none_joint as many without
words, and fresh_four has as many samples instead; turns learns up to three attempts with the verdict between them, sdpo
is self-distillation from the solver's critiques. entropy_bonus, clip_cov and oracle_clip_cov control the entropy. Seeds
are outermost in each block, so that a sweep that is stopped has arms of equal seeds.

`:tune` has three learning rates of grpo and of oracle, on validation with one seed and as many steps as the runs
themselves. With its folder behind the colon arms without critiques have the rate of grpo that was best in pass@1 over
the last three evaluations, and the others that of oracle; without it all have RATE, which is what both gave when this
was run. sdpo keeps its own.

Time: a minute a run on an idle core of a 2-core CPU, 6 runs to tune and 69 after it; the start an hour. Outcome:
docs/results/small_english.md.
"""

from __future__ import annotations

from typing import Any

from configs.common import part
from configs.sweeps import controls

COUNTDOWN = {"levels": (3,), "largest": 30, "form": "lines"}
SUMS = {"name": "chain_sum", "settings": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 2}}
DIVISORS = {"name": "gcd", "settings": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 99}}
# a task, its arguments, and its turns in a round (entropy_rl/tasks/mixture.py)
PARTS = (("countdown_words", COUNTDOWN, 4), ("reasoning_gym", SUMS, 1), ("reasoning_gym", DIVISORS, 1))
MIXTURE = {"task.args.parts": PARTS}
WORDS = {f"task.args.{key}": value for key, value in COUNTDOWN.items()}
# questions take at most 39 tokens, answers 20, a conversation with the solver's hint 192, critiques 83
POSED = {
    "model.path": "{workdir}/folder/model",
    "prompt.style": "chat",
    "prompt.ask": "",
    "prompt.prompt_length": 40,
    "prompt.response_length": 24,
    "rollout.slots": 256,
}
CONVERSATION = {"critique.max_tokens": 96, "critique.prompt_length": 208}

STEPS = 120
RATE = 3e-4
JOINT = {"critique.learn": "joint", "critique.guard.repetition": 0.5, "critique.guard.copying": 0.5}
TURNS = {"critique.source": "indicative", "critique.turns": 2, "critique.credit": "last", "critique.refined": 0}
TURNS |= {"rollout.samples": 6, "critique.attempts": 6}
# variant of configs/rl/hf.py, and what differs
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("critique", {"critique.source": "off"}),
    "oracle": ("critique", {"critique.source": "oracle"}),
    "none": ("critique", {"critique.source": "none"}),
    "fresh": ("critique", {"critique.source": "fresh"}),
    "random": ("critique", {"critique.source": "random"}),
    "hint": ("critique", {"critique.source": "oracle", "critique.level": "hint"}),
    "clip_cov": ("critique_clip_cov", {"critique.source": "off"}),
    "hint_joint": ("critique", {"critique.source": "oracle", "critique.level": "hint", "critique.attempts": 4} | JOINT),
    "fresh_four": ("critique", {"critique.source": "fresh", "critique.attempts": 4}),
    "none_joint": ("critique", {"critique.source": "none", "critique.attempts": 4} | JOINT),
    "oracle_clip_cov": ("critique_clip_cov", {"critique.source": "oracle"}),
    "self": ("critique", {"critique.source": "self"}),
    "indicative": ("critique", {"critique.source": "indicative"}),
    "entropy_bonus": ("critique", {"critique.source": "off", "entropy_coef.args.value": 0.01}),
    "joint": ("critique", {"critique.source": "oracle", "critique.attempts": 4} | JOINT),
    "sdpo": ("sdpo", {"critique.source": "oracle", "optimizer.learning_rate": 5e-5}),
    "turns": ("critique", JOINT | TURNS),
}
# five seeds; the others have three
MAIN = ("grpo", "hint", "none", "fresh", "oracle", "random", "hint_joint", "none_joint", "fresh_four")
TUNED = ("grpo", "oracle")
LONG = ("sdpo", "turns")  # four and ten minutes a run
ALONE = ("grpo", "entropy_bonus", "clip_cov")  # have grpo's rate, the others oracle's
RATES = (1e-4, 3e-4, 1e-3)
SMOKE = ("oracle", "self", "joint", "oracle_clip_cov", "sdpo")


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The start, its scores, and the arms; `tune`: TUNED at RATES instead; `smoke`: everything small, some arms.

    Any other `arg` is the folder of a tuning.
    """
    if arg == "smoke":
        return [*start(smoke=True), *(run(arm, 0, smoke=True) for arm in SMOKE)]
    if arg == "tune":
        return [*start(), *(tuning(arm, i) for arm in TUNED for i in range(len(RATES)))]
    rates = dict.fromkeys(ARMS, RATE)
    if arg:
        tuned = {arm: [f"{arg}/{tuning(arm, i)['name']}" for i in range(len(RATES))] for arm in TUNED}
        best = {arm: RATES[controls.best(folders)] for arm, folders in tuned.items()}
        rates = {arm: best["grpo" if arm in ALONE else "oracle"] for arm in ARMS}
    others = tuple(arm for arm in ARMS if arm not in MAIN + LONG)
    blocks = [(MAIN, (0, 1, 2)), (others[:1], (0,)), (MAIN, (3, 4)), (others[1:], (0,)), (others, (1, 2))]
    blocks += [(LONG, (0, 1, 2))]
    return [*start(), *(run(arm, seed, rates[arm]) for arms, seeds in blocks for seed in seeds for arm in arms)]


def start(smoke: bool = False) -> list[dict[str, Any]]:
    """From nothing to a policy that solves, criticises and refines, and its scores."""
    folder = MIXTURE | {"critiques": True, "vocabulary": 1024, "texts": 2000}
    folder |= {"model.d_model": 128, "model.layers": 5, "model.d_ff": 384}
    taught = POSED | MIXTURE | {"eval.split": "validation", "microbatches": 1, "eval.problems": 240}
    taught |= {"optimizer.warmup": 80, "optimizer.decay_to": 0.05}
    sft = taught | {"steps": 1200, "batch": 64, "optimizer.learning_rate": 3e-3}
    said = POSED | CONVERSATION | MIXTURE | {"init": "{workdir}/sft", "annotators": ("oracle",)}
    said |= {"problems": 8192, "samples": 2, "planted": 2048}
    lessons = {"init": "{workdir}/sft", "lessons.path": "{workdir}/said", "batch": 32, "steps": 1200}
    lessons |= {"lessons.solve": 0.35, "lessons.critique": 0.15, "lessons.refine": 0.5}
    lessons |= {"optimizer.learning_rate": 1.5e-3}
    said_more = said | {"init": "{workdir}/taught", "problems": 16384}
    more = lessons | {"init": "{workdir}/taught", "lessons.path": "{workdir}/said_more"}
    more |= {"steps": 5000, "batch": 16, "lessons.solve": 0.2, "lessons.critique": 0.1, "lessons.refine": 0.7}
    scores = POSED | CONVERSATION | WORDS | {"init": "{workdir}/start", "eval.problems": 128, "eval.samples": 8}
    if smoke:
        folder |= {"texts": 100, "model.d_model": 32, "model.layers": 2, "model.d_ff": 64}
        for made in (sft, lessons, more):
            made |= {"steps": 2, "batch": 8, "optimizer.warmup": 0}
        taught |= {"eval.problems": 6, "eval.samples": 2, "eval.ks": (1, 2)}
        said, said_more = (made | {"problems": 24, "planted": 24} for made in (said, said_more))
        scores |= {"eval.problems": 4, "eval.samples": 2}
    scores |= {"critique.model": "{workdir}/start"}
    make, teach = "critique/make:task=mixture", "rl/hf:tiny,lessons,part=sft,task=mixture"
    return [
        part("folder", "tiny_model", "tiny_model:task=mixture", folder),
        part("sft", "train_sft", "rl/hf:tiny,part=sft,task=mixture", taught | sft, "folder"),
        part("said", "make_critiques", make, said, "sft"),
        part("taught", "train_sft", teach, taught | lessons, "said"),
        part("said_more", "make_critiques", make, said_more, "taught"),
        part("start", "train_sft", teach, taught | more, "said_more"),
        part("scores", "critique_scores", "critique/scores:task=countdown_words", scores, "start"),
    ]


def tuning(arm: str, i: int) -> dict[str, Any]:
    """The `i`-th rate of an arm, on validation."""
    one = run(arm, 0, RATES[i])
    one["overrides"] |= {"eval.split": "validation", "eval.last.samples": 8}
    return one | {"name": f"{arm},tune={i}"}


def run(arm: str, seed: int, rate: float = RATE, smoke: bool = False) -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    variant, changes = ARMS[arm]
    shared = POSED | CONVERSATION | WORDS | {"init": "{workdir}/start", "seed": seed, "steps": STEPS, "updates": 2}
    shared |= {"rollout.prompts": 16, "rollout.samples": 8, "optimizer.learning_rate": rate, "change.every": 0}
    shared |= {"checkpoint.every": STEPS, "checkpoint.keep": 1}
    shared |= {"eval.every": 40, "eval.problems": 128, "eval.last.problems": 256, "eval.last.samples": 32}
    if smoke:
        shared |= {"steps": 2, "rollout.prompts": 4, "rollout.samples": 4, "optimizer.warmup": 0, "eval.every": 2}
        shared |= {"eval.problems": 4, "eval.samples": 2, "eval.ks": (1, 2), "eval.last.problems": 4}
    config = f"rl/hf:{variant},tiny,part=rl,task=countdown_words"
    return part(f"{arm},seed={seed}", "train_rl", config, shared | changes, "start")
