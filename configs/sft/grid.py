"""Imitation of ways through small grids: where reinforcement learning on them starts from.

python -m experiments.train_sft --config=configs/sft/grid.py --workdir=runs/sft

Time: about 40 s on one core. Expect held-out pass@1 0.66 and pass@8 0.99 after 1,500 steps, 0.47 nats a token.
"""

from configs import common
from configs.sft import countdown


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    c = countdown.get_config(arg)
    c.task = common.choice("grid", levels=(3, 5, 7))
    if not arg:
        c.steps = 1500
        c.eval.every = 1500
    return c
