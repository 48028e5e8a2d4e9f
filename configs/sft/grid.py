"""Imitation of ways through small grids: where reinforcement learning on them starts from.

python -m experiments.train_sft --config=configs/sft/grid.py --workdir=runs/sft

Time: about 20 s on 2 CPU cores. Expect held-out pass@1 about 0.5 and pass@8 about 0.95 after 1,000 steps.
"""

from configs import common
from configs.sft import countdown


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = countdown.get_config(arg)
    c.task = common.choice("grid", levels=(3, 5, 7))
    if not arg:
        c.steps = 1000
        c.eval.every = 1000
    return c
