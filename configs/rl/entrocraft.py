"""Entrocraft (arXiv:2604.26326): the entropy follows a schedule, as rows of one sign are rejected outside a band.

python -m experiments.train_rl --config=configs/rl/entrocraft.py --config.init=runs/sft --workdir=runs/rl

The paper's band falls from .6 to .7 down to .4 to .5 nats, linearly over the run (`:paper`). The policies here begin at
.3: ours falls from .2 to .3 down to .05 to .1. Above it only what is right teaches, below it only what is wrong.
Time: about 70 s on 2 CPU cores. Expect, as tuned in configs/sweeps/controls.py:2026 (a rate of 2e-4, bounds that end at
0.05 and 0.1), pass@1 .638 and pass@64 .801 after 400 steps, where GRPO at 2e-4 has .657 and .820.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model; `:paper` has the paper's constants."""
    return base.recipe(
        arg,
        entropy_band__low=common.choice("schedule", start=0.2, end=0.05, steps=200, shape="linear"),
        entropy_band__high=common.choice("schedule", start=0.3, end=0.1, steps=200, shape="linear"),
        paper={
            "entropy_band__low__args__start": 0.6,
            "entropy_band__low__args__end": 0.4,
            "entropy_band__high__args__start": 0.7,
            "entropy_band__high__args__end": 0.5,
        },
    )
