"""GRPO with clip-higher (DAPO, arXiv:2503.14476): a wider upper clip, so that rare tokens may grow.

python -m experiments.train_rl --config=configs/rl/clip_higher.py --config.init=runs/sft --workdir=runs/clip_higher

The paper's clips, 0.2 and 0.28, are of token ratios and mean the same here.
Time: about 70 s on 2 CPU cores. Expect entropy 0.29 -> 0.03 nats a token and held-out pass@1 0.29 -> 0.63 in 200
steps.
"""

from configs import common
from configs.rl import base


def get_config(arg=""):
    """`:smoke` takes two steps of a tiny model."""
    return base.recipe(arg, loss=common.choice("ppo", clip_low=0.2, clip_high=0.28))
