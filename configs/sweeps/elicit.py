"""Hidden reasoning: what five ways bring out of one base model, side by side on held-out problems.

    python -m experiments.sweep --config=configs/sweeps/elicit.py --workdir=runs/elicit --workers=1

The base, three runs of GRPO from it (240 steps of 32 prompts with 8 rows each, as in configs/sweeps/critique.py), three
of critique fine-tuning on one problem (600 critiques by the solver of attempts by the base and the three; settings of
configs/sweeps/cft.py), and experiments.elicit, which makes steering vectors and autoencoders, chooses on validation
problems and reports on test problems.

Time: about a quarter of an hour in all on a core of a shared 2-core CPU, besides the base.
"""

from __future__ import annotations

from typing import Any

from configs.common import imitation, part

SEEDS = (0, 1, 2)
PROBLEM = 11  # of level 5, by its place in the training split, as in configs/sweeps/cft.py


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """The base, GRPO, the critiques of one problem, critique fine-tuning, and the five side by side."""
    rl = {"init": "{workdir}/sft", "critique.source": "off", "steps": 240, "eval.split": "validation"}
    grpo = [part(f"grpo,seed={s}", "train_rl", "rl/critique_grpo", rl | _few(s, 120), "sft") for s in SEEDS]
    names = [run["name"] for run in grpo]
    said = {"init": "{workdir}/sft", "first": PROBLEM, "problems": 1, "samples": 1000, "most": 600, "planted": 0}
    said |= {"resample.paths": 0, "generators": tuple("{workdir}/" + name for name in names)}
    cft = {"init": "{workdir}/sft", "lessons.path": "{workdir}/said", "steps": 500, "eval.split": "validation"}
    cft |= {"eval.last.problems": 0}
    tuned = [part(f"cft,seed={s}", "train_sft", "sft/cft", cft | _few(s, 250), "said") for s in SEEDS]
    beside = [run["name"] for run in tuned]
    five = {"init": "{workdir}/sft"}
    five |= {key: tuple("{workdir}/" + name for name in of) for key, of in (("rl", names), ("cft", beside))}
    return [
        imitation(),
        *grpo,
        part("said", "make_critiques", "critique/make", said, *names),
        *tuned,
        part("elicit", "elicit", "elicit", five, *names, *beside),
    ]


def _few(seed: int, every: int) -> dict[str, Any]:
    return {"seed": seed, "eval.every": every}
