"""Does a critique in the loop keep self-training from narrowing? Vanilla, and what failed attempts are retried after.

    python -m experiments.sweep --config=configs/sweeps/self_train.py --workdir=runs/self_train --workers=2
    python -m experiments.compare --config=configs/compare.py --config.runs=runs/self_train \
        --config.baseline=vanilla --workdir=runs/self_train_table

AutoMathCritique (arXiv:2411.16579) with levels 3 to 6 and a finite pool of problems. All arms start from one base
model, which was taught to solve, to criticise and to refine, have the same pool and the same updates a round. fresh and
more tell what is the critique's and what is that of more samples: fresh retries failed attempts too, by asking afresh,
and more attempts every problem twice as often as vanilla does.

The barrier against shortcuts is the reference code's; it stops half of the right refinements, as a solution may leave
numbers out and the refiner's do. `:able`, in a workdir beside runs/critique (configs/sweeps/critique.py, to be run
first), is the same from that study's start, a refiner that was taught for longer, on levels 3 to 5, without a barrier.

Time: about 3 minutes a run on a core of a shared 2-core CPU, 2 with `:able`. The parts before: 30 minutes.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part, variant

LEVELS = (3, 4, 5, 6)

LEARNED = {"critique.source": "learned", "critique.model": "{workdir}/critique_model"}
ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {"critique.source": "off"},
    "oracle": {"critique.source": "oracle"},  # first wrong step and why
    "learned": LEARNED | {"critique.level": "hint"},  # all it says: what it would do instead is its own idea
    "learned_reason": LEARNED,  # as much of it as of the solver's
    "fresh": {"critique.source": "fresh"},
    "random": {"critique.source": "random"},
    "hint": {"critique.source": "oracle", "critique.level": "hint"},  # leaks part of a solution
    "more": {"critique.source": "off", "samples": 10},
    "none": {"critique.source": "none"},
    "revisions": {"critique.source": "oracle", "refine.revisions": True},
    "base": {"critique.source": "off", "rounds": 0},  # not trained: what narrowing is measured from
}
STUDY, ABLE = "{workdir}/../critique", ("base", "vanilla", "fresh", "none", "oracle", "learned", "hint")
FIRST = ("base", "vanilla", "oracle", "fresh", "random")  # while the critique model is trained


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The base model, the critique model, and the arms with three seeds each; `:able`: arms alone."""
    if variant(arg, "able"):
        return [run_able(arm, seed) for seed in range(3) for arm in ABLE]
    shared = {"task.args.levels": LEVELS, "eval.split": "validation"}
    lessons = {"lessons.path": "{workdir}/said", "init": "{workdir}/sft", "steps": 8000, "eval.every": 4000}
    critique_model = {"init": "{workdir}/base", "lessons.path": "{workdir}/said_more"}
    critique_model |= {"steps": 6000, "eval.every": 6000}
    make = {"task.args.levels": LEVELS, "problems": 12288, "planted": 4096}
    parts = [
        imitation(levels=LEVELS),
        part("said", "make_critiques", "critique/make", make | {"init": "{workdir}/sft"}, "sft"),
        part("base", "train_sft", "sft/lessons", shared | lessons, "said"),
        part("said_more", "make_critiques", "critique/make", make | {"init": "{workdir}/base"}, "base"),
        part("critique_model", "train_sft", "sft/critique_model", shared | critique_model, "said_more"),
    ]
    first, others = (
        [run(arm, seed) for seed in range(3) for arm in ARMS if (arm in FIRST) == x] for x in (True, False)
    )
    return [*parts[:3], *first, *parts[3:], *others]


def run(arm: str, seed: int) -> dict[str, Any]:
    """Self-training in one arm."""
    after = ["base", *(["critique_model"] if "critique.model" in ARMS[arm] else [])]
    shared = {"init": "{workdir}/base", "lessons.path": "{workdir}/said", "seed": seed}
    return part(f"{arm},seed={seed}", "self_train", "self_train", shared | ARMS[arm], *after)


def run_able(arm: str, seed: int) -> dict[str, Any]:
    """The same from the policy and with the critique model of configs/sweeps/critique.py, without a barrier."""
    shared = {"init": f"{STUDY}/start", "lessons.path": f"{STUDY}/said", "seed": seed}
    changes = {"task.args.levels": (3, 4, 5), "refine.slack": 99}
    own = {k: v.replace("{workdir}", STUDY) if k == "critique.model" else v for k, v in ARMS[arm].items()}
    return part(f"{arm},seed={seed}", "self_train", "self_train", shared | changes | own)
