"""Does a critique in the loop keep the policy wide? Arms that differ in what failed attempts are retried after.

    python -m experiments.sweep --config=configs/sweeps/critique.py --workdir=runs/critique --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/critique --workdir=runs/critique-table

All start from one policy, which was taught to solve, to criticise and to refine (solver's critiques of its attempts at
training problems), and meet the same problems, 32 a step with 8 rows each, at 3e-4 and 4 updates (of the study of
controls, not tuned here). Without a critique (grpo) all 8 rows are own samples. In the other arms two failed attempts
of a group are retried, and one retry, a right one if there is one, takes the place of the eighth row (Critique-GRPO,
arXiv:2506.03106). fresh: the retries are further samples of the question, so tokens are those of the critique arms.

Time: about a minute a run on a core of a shared 2-core CPU, 61 runs. The parts that are no reinforcement learning: 30
minutes.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part

STEPS = 240

LEARNED = {"critique.source": "learned", "critique.model": "{workdir}/critique_model"}
# What is said of a failed attempt before it is retried, and controls without and with it.
ARMS: dict[str, dict[str, Any]] = {
    "grpo": {"critique.source": "off"},
    "fresh": {"critique.source": "fresh"},
    "random": {"critique.source": "random"},
    "learned": LEARNED | {"critique.level": "hint"},  # all it says: what it would do instead is its own idea
    "oracle": {"critique.source": "oracle"},  # step and reason
    "indicative": {"critique.source": "indicative"},
    "oracle_step": {"critique.source": "oracle", "critique.level": "step"},
    "hint": {"critique.source": "oracle", "critique.level": "hint"},  # leaks part of a solution
    "self": {"critique.source": "self"},
    "withdrawn": {"critique.source": "oracle", "critique.until": STEPS // 2},
    "entropy_bonus": {"critique.source": "off", "entropy_coef.args.value": 0.01},
    "clip_cov": {"critique.source": "off", "loss.args.frac": 0.01},
    "oracle_clip_cov": {"critique.source": "oracle", "loss.args.frac": 0.01},
    "none": {"critique.source": "none"},
    "learned_reason": LEARNED,  # as much of it as of the solver's
    # three rows of eight instead of one, from up to five retries, and as many fresh samples
    "oracle_three": {"critique.source": "oracle", "critique.refined": 3, "critique.attempts": 5},
    "fresh_three": {"critique.source": "fresh", "critique.refined": 3, "critique.attempts": 5},
}
FIVE = ("grpo", "fresh", "random", "learned", "oracle")  # seeds; the others have three


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The policy that all start from, the critique model, its scores, and the arms: three seeds each, five for FIVE."""
    said = {"planted": 4096, "init": "{workdir}/sft", "problems": 16384}
    said_more = {"planted": 4096, "init": "{workdir}/start", "problems": 32768}
    taught = {"lessons.path": "{workdir}/said", "init": "{workdir}/sft", "eval.split": "validation", "eval.every": 7000}
    critique_model = {"lessons.path": "{workdir}/said_more", "init": "{workdir}/start", "eval.split": "validation"}
    parts = [
        imitation(),
        part("said", "make_critiques", "critique/make", said, "sft"),
        part("start", "train_sft", "sft/lessons", taught, "said"),
        part("said_more", "make_critiques", "critique/make", said_more, "start"),
        part("critique_model", "train_sft", "sft/critique_model", critique_model | {"eval.every": 10000}, "said_more"),
    ]
    first = [(arm, seed) for seed in range(3) for arm in FIVE]
    others = [(arm, seed) for seed in range(3) for arm in ARMS if arm not in FIVE]
    last = [(arm, seed) for seed in (3, 4) for arm in FIVE]
    return [*parts, *(run(arm, seed) for arm, seed in (*first, *others, *last))]


def shared(seed: int, start: str = "{workdir}/start") -> dict[str, Any]:
    """What all arms have."""
    ends = {"eval.every": 20, "eval.last.problems": 510, "eval.last.samples": 64}
    return {"init": start, "steps": STEPS, "seed": seed} | ends


def run(arm: str, seed: int) -> dict[str, Any]:
    """Reinforcement learning in one arm."""
    after = ["start", *(["critique_model"] if "critique.model" in ARMS[arm] else [])]
    config = "rl/critique_clip_cov" if arm.endswith("clip_cov") else "rl/critique_grpo"
    return part(f"{arm},seed={seed}", "train_rl", config, shared(seed) | ARMS[arm], *after)
