"""The law R = -a exp(H) + b over model sizes, training data and starts, on Countdown.

    python -m experiments.sweep --config=configs/sweeps/laws.py --workdir=runs/laws --workers=2

`laws.py:sizes` and `laws.py:heated` are its parts; they share a folder, and the starts. Seeds are outermost, so that a
sweep that is stopped early is a study with fewer seeds.

sizes   GRPO from 2,500 steps of imitation, at five widths, on two mixes of training problems (levels 3 and 4, or 3, 4
        and 5) from the same start: a and b against ln N, and how they depend on the training data.
heated  GRPO from the width-64 start with its logits divided by 2.3: a start with about four times the entropy that
        imitation leaves, so that the form of the curve shows. (Imitation that ends early has as much entropy, but
        knows neither format nor arithmetic: with 0.8 nats pass@1 was below .01.)

R of both mixes on the same problems: there are 96 of each level, and those of a level do not depend on what other
levels there are. So `pass@1` of mix=34 is to be compared with the mean of `pass@1/level3` and `pass@1/level4` of
mix=345. H is that of a mix's own training problems.

    model      N without embedding    N in all
    width32                 23,712      24,992
    width48                 53,232      55,152
    width64                 94,528      97,088
    width88                178,552     182,072
    width128               377,472     382,592

N is 23 d^2 + 5 d; the embedding, which is the head too, has 40 d. All imitate for the same number of steps, so a larger
model is a better trained one too, and a(ln N), b(ln N) are those of both together.

Time: about 45 minutes with two workers on 2 shared CPU cores. Outcome: notebooks/law_over_sizes_and_data.ipynb and
notebooks/form_of_the_law.ipynb.

Rates: 5e-4 for sizes and 7e-4 for heated, not tuned (pilots of 110 to 240 steps on the validation split).
"""

from __future__ import annotations

from typing import Any

from configs.common import part
from entropy_rl.errors import InputError

WIDTHS = (32, 48, 64, 88, 128)
MIXES = {"345": (3, 4, 5), "34": (3, 4)}
TEMPERATURE = 2.3
PARTS = ("sizes", "heated")


def get_runs(arg: str = "") -> list[dict[str, Any]]:
    """All runs, or those of the part `arg`: sizes or heated."""
    if arg and arg not in PARTS:
        raise InputError(f"laws.py knows no part {arg!r}: leave it out or say one of {', '.join(PARTS)}")
    runs: dict[str, dict[str, Any]] = {}
    for seed in range(3):
        parts = {"heated": heated(seed), "sizes": sizes(seed) if seed < 2 else []}
        for name, found in parts.items():
            if arg in ("", name):
                runs |= {run["name"]: run for run in found}
    return list(runs.values())


def sizes(seed: int) -> list[dict[str, Any]]:
    """Every width: imitation, and GRPO on every mix."""
    runs = []
    for width in WIDTHS:
        runs.append(start(width, seed))
        runs += [grpo(f"size=w{width},mix={mix},seed={seed}", width, mix, seed, steps=240) for mix in MIXES]
    return runs


def heated(seed: int) -> list[dict[str, Any]]:
    """A start with much entropy; it is further from the end, so the rate is higher and there are more steps."""
    more = {"init_temperature": TEMPERATURE, "optimizer.learning_rate": 7e-4}
    return [start(64, seed), grpo(f"heated,size=w64,mix=345,seed={seed}", 64, "345", seed, steps=400, **more)]


def start(width: int, seed: int) -> dict[str, Any]:
    """Imitation."""
    how = shared(width, "345", seed) | {"steps": 2500, "eval.every": 2500}
    return part(f"start,size=w{width},seed={seed}", "train_sft", "sft/countdown", how)


def grpo(name: str, width: int, mix: str, seed: int, **changes: Any) -> dict[str, Any]:
    """GRPO on 32 problems x 8 a step; evaluated often, as forecasts are from the first steps."""
    init = f"start,size=w{width},seed={seed}"
    settings = {
        "init": f"{{workdir}}/{init}",
        "updates": 1,
        "rollout.prompts": 32,
        "optimizer.learning_rate": 5e-4,
        "optimizer.warmup": 10,
        "eval.every": 4,
        "change.every": 0,
    }
    return part(name, "train_rl", "rl/grpo", shared(width, mix, seed) | settings | changes, init)


def shared(width: int, mix: str, seed: int) -> dict[str, Any]:
    """What imitation and RL have in common: 96 held-out problems of each level."""
    levels = MIXES[mix]
    return {
        "seed": seed,
        "model.name": f"width{width}",
        "task.args.levels": levels,
        "eval.problems": 96 * len(levels),
        "checkpoint.every": 500,
    }
