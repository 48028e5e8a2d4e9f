"""Are collapse in training and variance at test time one failure or two? Controls of training, for experiments.dual.

    python -m experiments.sweep --config=configs/sweeps/dual.py --workdir=runs/dual --workers=2
    python -m experiments.dual --config=configs/dual.py --config.runs=runs/dual --config.init=runs/dual/start \\
        --workdir=runs/dual-table

All start from one policy, which was taught to solve and, after an attempt that failed and the word `again`, to solve
anew: without that the word with which a thought is forced on would be noise to it. All meet the same problems, 32 a
step with 8 rows each, at 3e-4 and 4 updates, and keep their checkpoints. grpo has no control; entropy_bonus and
clip_cov are the strengths of configs/sweeps/critique.py, not tuned here; critique retries two failed attempts a group
after the solver's critique; darling rewards right responses that differ. A further control is a row of ARMS.

Time: about 80 s a run on a core of a shared 2-core CPU, 15 runs; the policies before them seven minutes.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part

STEPS = 160
EVERY = 40  # steps between checkpoints, all of which are kept

# config, and what an arm sets in it
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("rl/critique_grpo", {"critique.source": "off"}),
    "entropy_bonus": ("rl/critique_grpo", {"critique.source": "off", "entropy_coef.args.value": 0.01}),
    "clip_cov": ("rl/critique_clip_cov", {"critique.source": "off", "loss.args.frac": 0.01}),
    "critique": ("rl/critique_grpo", {"critique.source": "oracle"}),
    "darling": ("rl/darling", {"task.args.talk": True}),
}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The policy that all start from, and three seeds of each arm."""
    return [*taught(), *(run(arm, seed) for seed in range(3) for arm in ARMS)]


def taught() -> list[dict[str, Any]]:
    """`start`, a policy that solves and refines, and what it is made from (configs/sweeps/forking.py has the same)."""
    # an eighth of the lessons of configs/sweeps/critique.py, of two levels instead of five: read critiques a little
    lessons = {"lessons.path": "{workdir}/said", "init": "{workdir}/sft", "eval.split": "validation", "steps": 2500}
    lessons |= {"lessons.critique": 0.0, "lessons.refine_levels": ("none", "reason"), "eval.every": 2500}
    make = {"init": "{workdir}/sft", "problems": 4096, "planted": 1024}
    return [
        imitation(),
        part("said", "make_critiques", "critique/make", make, "sft"),
        part("start", "train_sft", "sft/lessons", lessons, "said"),
    ]


def run(arm: str, seed: int) -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    config, changes = ARMS[arm]
    shared = {
        "init": "{workdir}/start",
        "steps": STEPS,
        "seed": seed,
        "eval.every": STEPS,
        "checkpoint.every": EVERY,
        "checkpoint.keep": STEPS // EVERY + 1,
        "change.every": 0,
    }
    return part(f"{arm},seed={seed}", "train_rl", config, shared | changes, "start")
