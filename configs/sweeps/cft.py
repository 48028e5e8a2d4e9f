"""Critique fine-tuning against imitation of right solutions at equal data, on many problems and on a single one.

    python -m experiments.sweep --config=configs/sweeps/cft.py --workdir=runs/cft --workers=2

The base was taught to solve in runs/critique (configs/sweeps/critique.py, to be run first, beside this workdir). Many
problems: the rows of runs/critique/said, about one epoch. One problem: 600 critiques of attempts at one training
problem by ten policies, by seven writers (arXiv:2506.03295: 600, of 100 attempts by 10 models, by 7 teachers), of the
ten by the solver alone, or of attempts by the base alone by the solver alone; 50 epochs. All arms of a kind take as
many updates on as many rows.

Time: about a minute a run on a core of a shared 2-core CPU.
"""

from __future__ import annotations

from typing import Any

from configs.common import part

PROBLEM = 11  # of level 5, by its place in the training split
STUDY = "{workdir}/../critique"
BASE = f"{STUDY}/sft"
POLICIES = ("grpo", "fresh", "random", "learned", "oracle", "hint", "clip_cov", "entropy_bonus")
GENERATORS = (f"{STUDY}/start", *(f"{STUDY}/{arm},seed=0" for arm in POLICIES))  # and the base: ten
WRITERS = ("oracle", f"{STUDY}/critique_model", f"{STUDY}/start", *(f"{STUDY}/{arm},seed=0" for arm in POLICIES[:4]))

MANY, ONE = {"lessons.path": f"{STUDY}/said"}, {"steps": 500, "eval.every": 100}
TEN, SINGLE, SOLVER = ({"lessons.path": "{workdir}/" + name} for name in ("ten", "single", "ten_solver"))
SOLUTIONS = {"lessons.critique": 0.0, "lessons.refined": 1.0}  # as configs/sft/cft.py:sft
ARMS: dict[str, dict[str, Any]] = {
    "sft": MANY | SOLUTIONS,
    "cft": MANY,
    "cft_reason": MANY | {"lessons.level": "reason"},  # critiques without a solution
    "one_sft": ONE | TEN | SOLUTIONS,
    "one_cft": ONE | TEN,
    "one_cft_reason": ONE | TEN | {"lessons.level": "reason"},
    "one_cft_single": ONE | SINGLE,  # one generator, one writer
    "one_cft_solver": ONE | SOLVER,  # ten generators, one writer
}


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The two datasets of one problem, the base as it is, and the arms, three seeds each."""
    one = {"init": BASE, "first": PROBLEM, "problems": 1, "most": 600, "planted": 0, "resample.paths": 0}
    ten = one | {"samples": 100, "generators": GENERATORS}
    alone = {"init": BASE, "lessons.path": f"{STUDY}/said", "steps": 1, "optimizer.warmup": 0}
    runs = [
        part("ten", "make_critiques", "critique/make", ten | {"annotators": WRITERS}),
        part("single", "make_critiques", "critique/make", one | {"samples": 4000}),
        part("ten_solver", "make_critiques", "critique/make", ten | {"samples": 500}),
        # not trained: what the arms are measured from
        part("base,seed=0", "train_sft", "sft/cft", alone | {"optimizer.learning_rate": 1e-12}),
    ]
    for seed in range(3):
        for arm, changes in ARMS.items():
            after = [changes["lessons.path"].split("/")[-1]] if "one" in arm else []
            changes = {"init": BASE, "seed": seed} | changes
            runs.append(part(f"{arm},seed={seed}", "train_sft", "sft/cft", changes, *after))
    return runs
