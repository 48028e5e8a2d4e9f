"""Does a critique in the loop keep a real language model's policy wide? SmolLM2-135M, two tasks, two seeds.

    make smollm2
    python -m experiments.sweep --config=configs/sweeps/critique_smollm2.py --workdir=runs/smollm2/study --workers=1
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/smollm2/study --config.k=32 \\
        --config.baseline=grpo,countdown --workdir=runs/smollm2/study-countdown

The arms are those that decide the question in the toy (configs/sweeps/critique.py, critique_learn.py): GRPO; as many
fresh samples as there are retries (fresh); a retry without words (none); Critique-GRPO with the solver's critiques
(critique); the same retries learnt under their critique too (joint); self-distillation from critiques and right
siblings with GRPO's loss beside it (sdpo). Tasks: Countdown in words of three numbers (configs/rl/smollm2.py), and sums
of two or three numbers in words, where an attempt is a number and a critique (`arithmetic`) its verdict. 120 steps of
8 x 4 responses, one update each, and 64 held-out problems x 32 at the end. `:tune` has three learning rates of every
arm, 40 steps of one seed on the validation split. `:smoke` makes a tiny model and takes a few steps of every arm.

A start is imitation and then lessons in refining (parts `start`, `said` and `taught`, of each task). Runs are cut off
and go on as any run: what is done stays. Seeds are outermost, and of a seed sums come first, as their steps are short:
what is there after hours can be compared.
Time: of sums 18 to 21 minutes a run on a core of a 2-core CPU and 10 for the start; of Countdown not measured, half a
minute to a minute and a half a step by configs/sweeps/smollm2.py. 8 to 14 GB of memory. Outcome: the first four arms of
sums, docs/results/question.md; the others have not been run.
"""

from __future__ import annotations

from typing import Any

from configs import common
from configs.rl.smollm2 import CONVERSATION, PATH, TASK

# of a task: its spec behind a config's colon, settings, and who criticises
TASKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "sums": (
        "task=chain_sum,min_terms=2,max_terms=3,min_digits=1,max_digits=1",
        {"prompt.style": "plain", "prompt.prompt_length": 44, "prompt.response_length": 12}
        | {"critique.max_tokens": 16, "critique.prompt_length": 256},
        "arithmetic",
    ),
    "countdown": ("task=countdown_words", TASK | CONVERSATION, "oracle"),
}
# of an arm: the variant of configs/rl/hf.py, and what it changes; a source that is not given is the task's
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("", {}),
    "fresh": ("critique", {"critique.source": "fresh"}),
    "none": ("critique", {"critique.source": "none"}),
    "critique": ("critique", {}),
    "joint": ("critique", {"critique.learn": "joint", "critique.attempts": 4}),
    "sdpo": ("sdpo", {"critique.attempts": 4, "distillation.outcome": 1.0}),
}
RATE, RATES = 2e-5, (1e-5, 4e-5)


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The starts and the arms; `tune`: other rates on validation; `smoke`: two steps of a tiny model each."""
    common.variant(arg, "tune", "smoke")
    if arg == "smoke":
        folder = common.part("folder", "tiny_model", f"tiny_model:smoke,{TASKS['sums'][0]}", {})
        return [folder, *(arm(name, "sums", 0, {}, small=True) for name in ARMS)]
    if arg == "tune":
        runs = [one for task in TASKS for one in start(task)]
        few = {"steps": 40, "eval.every": 10, "eval.split": "validation", "eval.last.problems": 0}
        tried = [few | {"optimizer.learning_rate": rate} for rate in (*RATES, RATE)]
        return runs + [arm(name, task, 0, way) for name in ARMS for task in TASKS for way in tried]
    first = [one for task in TASKS for one in (*start(task), *(arm(name, task, 0, {}) for name in ARMS))]
    return first + [arm(name, task, 1, {}) for task in TASKS for name in ARMS]


def start(task: str) -> list[dict[str, Any]]:
    """Imitation, critiques of its attempts, and lessons in solving and in refining after them."""
    spec, settings, critic = TASKS[task]
    settings = settings | {"model.path": PATH, "rollout.slots": 64}
    alone = {key: value for key, value in settings.items() if not key.startswith("critique.")}
    few = {"batch": 16, "microbatches": 4, "optimizer.warmup": 8, "optimizer.learning_rate": 2e-4, "log_every": 5}
    few |= {"eval.problems": 64, "eval.samples": 4, "eval.ks": (1, 2, 4), "checkpoint.every": 20}
    made = settings | {"init": f"{{workdir}}/start,{task}", "annotators": (critic,)}
    made |= {"problems": 512, "samples": 2, "planted": 256 if task == "countdown" else 0}
    taught = alone | few | {"init": f"{{workdir}}/start,{task}", "lessons.path": f"{{workdir}}/said,{task}"}
    taught |= {"steps": 80, "batch": 8, "lessons.solve": 0.4, "lessons.critique": 0.0, "lessons.refine": 0.6}
    return [
        common.part(f"start,{task}", "train_sft", f"rl/hf:part=sft,{spec}", alone | few | {"steps": 60}),
        common.part(f"said,{task}", "make_critiques", f"critique/make:{spec}", made, f"start,{task}"),
        common.part(f"taught,{task}", "train_sft", f"sft/lessons:{spec}", taught, f"said,{task}"),
    ]


def arm(name: str, task: str, seed: int, changes: dict[str, Any], small: bool = False) -> dict[str, Any]:
    """Reinforcement learning of one arm; of several with `changes`, the name has their learning rate."""
    spec, settings, critic = TASKS[task]
    variant, way = ARMS[name]
    rate = changes.get("optimizer.learning_rate", RATE)
    overrides = {"seed": seed, "optimizer.learning_rate": rate, "model.path": "{workdir}/folder/model"}
    overrides |= {"critique.source": critic} if variant else {}
    if small:
        overrides |= {"prompt.style": "plain", "prompt.prompt_length": 128, "steps": 2}
    else:
        overrides |= settings | {"init": f"{{workdir}}/taught,{task}", "model.path": PATH, "steps": 120}
        overrides |= {"optimizer.warmup": 4, "rollout.prompts": 8, "rollout.samples": 4, "rollout.slots": 32}
        overrides |= {"eval.every": 20, "eval.problems": 64, "eval.samples": 4, "eval.ks": (1, 2, 4)}
        overrides |= {"eval.last.problems": 64, "eval.last.samples": 32, "checkpoint.every": 5}
    label = f"{name},{task}" + (f",rate={rate:g}" if changes else "") + f",seed={seed}"
    config = "rl/hf:" + ",".join(filter(None, [variant, "smoke" if small else "", "part=rl", spec]))
    return common.part(label, "train_rl", config, overrides | way | changes, "folder" if small else f"taught,{task}")
